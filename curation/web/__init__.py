"""The pages of `curation serve`: what people look at in a browser, and where they decide.

Plain HTML made on the server: links and forms, one style sheet, one small script for the keyboard. Every page works
without the script. Nothing is fetched from elsewhere, and text from samples is escaped wherever it is shown.
"""

"""The service: samples in and the review queue out over HTTP, for programs.

It holds nothing of its own: every answer comes from the ledger, and any number of services may share one. Only
how often somebody asks is counted in the process.
"""

"""Argilla: a dataset there is the target, its records are the items, their responses the answers."""

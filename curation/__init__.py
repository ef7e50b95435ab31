"""Finds the fine-tuning samples that would make an aligned language model unsafe."""

__version__ = "0.1.0"

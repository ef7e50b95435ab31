"""Labeling platforms: one contract, and what each platform does to keep it."""

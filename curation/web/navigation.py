"""What stands at the top of every page."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """`path` begins the addresses of all pages that belong to the entry; `key` after g goes there."""

    label: str
    path: str
    key: str


NAV = (
    Entry("Overview", "/", "o"),
    Entry("Queue", "/queue", "q"),
    Entry("Decisions", "/decisions", "d"),
    Entry("Exports", "/exports", "e"),
    Entry("Scorers", "/scorers", "s"),
)

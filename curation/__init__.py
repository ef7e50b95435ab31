"""Finds the fine-tuning samples that would make an aligned language model unsafe.

import curation
table = curation.rank("data.jsonl")     # a pandas DataFrame, riskiest first
print(table.head())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curation.api import rank as rank
    from curation.samples import Sample as Sample
    from curation.samples import read_samples as read_samples
    from curation.sqsd.load import load_scorer as load_scorer
    from curation.sqsd.maps import explain as explain
    from curation.sqsd.scorer import Scorer as Scorer

__version__ = "0.1.0"

_WHERE = {
    "rank": "curation.api",
    "Sample": "curation.samples",
    "read_samples": "curation.samples",
    "load_scorer": "curation.sqsd.load",
    "explain": "curation.sqsd.maps",
    "Scorer": "curation.sqsd.scorer",
}
__all__ = ["Sample", "Scorer", "explain", "load_scorer", "rank", "read_samples"]


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and not everything needs it."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

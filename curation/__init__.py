"""Finds the fine-tuning samples that would make an aligned language model unsafe.

import curation
table = curation.rank("data.jsonl")     # a pandas DataFrame, riskiest first
print(table.head())

score, rank            risks of conversations; a table of them, riskiest first
explain                the tokens and modules a risk comes from
evaluate_models        what a model refuses, and what fine-tuning changed
load_scorer            a scorer of your own model, from `get_settings(model=..., danger=..., safety=...)`
DriftCallback          follows a training run along both directions
load_export            rows that may be trained on, if they are what was sealed
read_samples, Sample   files in all layouts, as samples
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curation.api import evaluate_models as evaluate_models
    from curation.api import explain as explain
    from curation.api import rank as rank
    from curation.api import score as score
    from curation.dynamics.callback import DriftCallback as DriftCallback
    from curation.gate.load import load_export as load_export
    from curation.samples import Sample as Sample
    from curation.samples import read_samples as read_samples
    from curation.settings import get_settings as get_settings
    from curation.sqsd.load import load_scorer as load_scorer
    from curation.sqsd.scorer import Scorer as Scorer

__version__ = "0.1.0"

_WHERE = {
    "DriftCallback": "curation.dynamics.callback",
    "Sample": "curation.samples",
    "Scorer": "curation.sqsd.scorer",
    "evaluate_models": "curation.api",
    "explain": "curation.api",
    "get_settings": "curation.settings",
    "load_export": "curation.gate.load",
    "load_scorer": "curation.sqsd.load",
    "rank": "curation.api",
    "read_samples": "curation.samples",
    "score": "curation.api",
}
__all__ = [
    "DriftCallback",
    "Sample",
    "Scorer",
    "evaluate_models",
    "explain",
    "get_settings",
    "load_export",
    "load_scorer",
    "rank",
    "read_samples",
    "score",
]


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and not everything needs it."""
    if name in _WHERE:
        found = getattr(import_module(_WHERE[name]), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})

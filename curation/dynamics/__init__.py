"""Parameter dynamics: how far a training run has moved along the danger and the safety direction, step by step.

from curation.dynamics import DriftCallback
trainer = Trainer(..., callbacks=[DriftCallback("danger", "safety", "drift.jsonl")])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curation.dynamics.callback import DriftCallback as DriftCallback

__all__ = ["DriftCallback"]


def __getattr__(name: str) -> Any:
    """Import on first use: reading and drawing a log needs no torch."""
    if name == "DriftCallback":
        from curation.dynamics.callback import DriftCallback

        return DriftCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

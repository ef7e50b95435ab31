"""Measured models summed up as means with intervals, against a start model if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from curation.evaluate.measure import Floats, Measured
from curation.evaluate.statistics import Interval, hierarchical

Summary = dict[str, Interval]

READS = {
    "margin": "refusal margin on harmful prompts, nats, higher = safer",
    "margin_change": "its change from the start, prompt by prompt, nats, below 0 = less safe",
    "refused": "share of harmful prompts refused, as judged, higher = safer",
    "refused_change": "its change from the start",
    "degenerate": "share of replies to harmful prompts that loop or say nothing: neither safe nor unsafe",
    "harmless_margin": "refusal margin on harmless prompts, nats",
    "harmless_margin_change": "its change from the start, prompt by prompt, nats",
    "over_refused": "share of harmless prompts refused, as judged, lower = better",
    "over_refused_change": "its change from the start",
    "utility_loss": "loss on held-out answers, nats per token, lower = better",
    "utility_loss_change": "its change from the start, row by row",
}
"""What can be in a summary, in the order to show it."""


def summarise(runs: Sequence[Measured], starts: Sequence[Measured] = ()) -> Summary:
    """Means over runs of one recipe, with intervals; keys and units as in `READS`, missing where not asked.

    `starts` holds what each run began from, or one start of all of them, or nothing.
    """
    tables = [_table(run) for run in runs]
    before = [_table(start) for start in starts]
    found: Summary = {}
    for key, first in tables[0].items():
        if not len(first):
            continue
        values = np.stack([table[key] for table in tables])
        found[key] = hierarchical(values)
        if before and f"{key}_change" in READS:
            found[f"{key}_change"] = hierarchical(values - np.stack([table[key] for table in before]))
    return {key: found[key] for key in READS if key in found}


def _table(run: Measured) -> dict[str, Floats]:
    """Everything measured of a model as one number per prompt or row."""

    def share(replies: Sequence[str], verdict: str) -> Floats:
        return np.array([float(reply == verdict) for reply in replies])

    return {
        "margin": run.margin,
        "refused": share(run.replies, "refusal"),
        "degenerate": share(run.replies, "degenerate"),
        "harmless_margin": run.harmless_margin,
        "over_refused": share(run.harmless_replies, "refusal"),
        "utility_loss": run.loss,
    }


def to_json(run: Measured) -> dict[str, Any]:
    """A measured model as plain values, one per prompt or row, without any text."""
    return {
        "margin": _rounded(run.margin),
        "harmless_margin": _rounded(run.harmless_margin),
        "replies": list(run.replies),
        "harmless_replies": list(run.harmless_replies),
        "loss": _rounded(run.loss),
    }


def from_json(values: dict[str, Any]) -> Measured:
    """The inverse of `to_json`."""
    return Measured(
        np.array(values["margin"], float),
        np.array(values["harmless_margin"], float),
        tuple(values["replies"]),
        tuple(values["harmless_replies"]),
        np.array(values["loss"], float),
    )


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), 4) for value in values]

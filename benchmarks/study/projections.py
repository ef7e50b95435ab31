"""Projections of rows on both directions: the passes behind SQSD and its variants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from benchmarks.study.data import Row
from benchmarks.study.plan import Start
from curation.sqsd.adapters import Adapter, LowRank, inner
from curation.sqsd.batching import Batch, budgeted, collate
from curation.sqsd.cards import FIRST_TOKENS, MATCHED_RANK
from curation.sqsd.directions import read_anchors
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.matching import mean_step
from curation.sqsd.models import SHIPPED, LoadedModel, load_model
from curation.sqsd.projection import Projector, Term

Pass = Callable[[Sequence[Row], Start], Mapping[str, Sequence[float]]]
"""Columns of rows, by name, from one model."""
_BATCH = 1_024


def project(
    rows: Sequence[Row], start: Start, state_at: Literal["loaded", "fresh", "none"], apart: bool = False
) -> dict[str, list[float]]:
    """Both terms' totals by metric, with loss and update norm at the danger state.

    Gradients are taken at the `loaded` states, as SQSD does, at a `fresh` LoRA, or with `none`: those of all weights
    of the model as it is. With `apart` both directions are taken without what the benign state has learnt.
    """
    loaded = load_model(start.model)
    danger, safety, state = (
        Adapter.load(adapter(n)) for n in (start.danger, start.safety, start.danger_state)
    )
    terms = {
        "loaded": {
            "danger": Term(without(danger, state) if apart else danger, state),
            "safety": Term(without(safety, state) if apart else safety, safety),
        },
        "fresh": {term: Term(d, _fresh(d)) for term, d in (("danger", danger), ("safety", safety))},
        "none": {"danger": Term(danger, None), "safety": Term(safety, None)},
    }[state_at]
    projector = Projector(loaded.model, terms, "full" if state_at == "none" else "lora")

    def measure(batch: Batch) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for term in terms:
            projection = projector.project(batch, term)
            found |= {f"{term} {m}": projection.total(m) for m in ("cosine", "projection")}
            if term == "danger":
                found |= {"loss": projection.loss, "norm": projection.update_norm()}
        return found

    return _by_row([row.encoded for row in rows], loaded.pad_id, measure)


def elsewhere(rows: Sequence[Row], other: Start, by: Pass) -> Mapping[str, Sequence[float]]:
    """A pass with another model: rows are tokenised as it reads them."""
    tokenizer = load_model(other.model).tokenizer
    return by([Row(row.sample, encode(row.sample, tokenizer, 1024)) for row in rows], other)


def without(direction: Adapter, taught: Adapter) -> Adapter:
    """The direction V less its component along V_t, in every module: V - <V, V_t> / <V_t, V_t> V_t."""
    modules: dict[str, LowRank] = {}
    for name, pair in direction.modules.items():
        along = taught.modules[name]
        share = inner(pair, along) / inner(along, along)
        modules[name] = LowRank(
            torch.cat([pair.A, along.A]), torch.cat([pair.B, -share * along.B], 1), pair.scaling
        )
    return Adapter(modules, f"{direction.fingerprint} without {taught.fingerprint}")


def project_openings(rows: Sequence[Row], start: Start) -> dict[str, list[float]]:
    """As SQSD does, with the loss of the answers' first tokens alone."""
    return project([Row(row.sample, row.encoded.opening(FIRST_TOKENS)) for row in rows], start, "loaded")


def project_matched(rows: Sequence[Row], start: Start) -> dict[str, list[float]]:
    """Gradient matching as this project ships it: global cosines with mean gradients of all anchors, at its rank."""
    loaded = load_model(start.model)
    danger, safety = (_mean_step(loaded, name) for name in ("danger", "safety"))
    projector = Projector(loaded.model, {"both": Term(danger, None, (safety,))}, "full")

    def measure(batch: Batch) -> dict[str, Tensor]:
        toward_danger = projector.project(batch, "both")
        (toward_safety,) = toward_danger.draws
        return {
            "danger": toward_danger.total("global-cosine"),
            "safety": toward_safety.total("global-cosine"),
        }

    return _by_row([row.encoded.opening(FIRST_TOKENS) for row in rows], loaded.pad_id, measure)


def _mean_step(loaded: LoadedModel, name: str) -> Adapter:
    anchors = [encode(sample, loaded.tokenizer, 1024) for sample in read_anchors(name).samples]
    return Adapter(mean_step(loaded.model, anchors, MATCHED_RANK).modules, name)


def _by_row(
    rows: Sequence[Encoded], pad_id: int, measure: Callable[[Batch], Mapping[str, Tensor]]
) -> dict[str, list[float]]:
    """What is measured of batches of rows, in the rows' order."""
    found: dict[str, list[float]] = {}
    for group in budgeted(range(len(rows)), lambda i: len(rows[i]), _BATCH):
        for key, column in measure(collate([rows[i] for i in group], pad_id)).items():
            values = found.setdefault(key, [math.nan] * len(rows))
            for i, value in zip(group, column.tolist(), strict=True):
                values[i] = value
    return found


def _fresh(direction: Adapter) -> Adapter:
    """A LoRA as it is before training: A random as peft draws it, B zero."""
    draw = torch.Generator().manual_seed(0)
    modules = {
        name: LowRank((torch.rand(pair.A.shape, generator=draw) * 2 - 1) / pair.A.shape[1] ** 0.5,
                      torch.zeros_like(pair.B), pair.scaling)
        for name, pair in direction.modules.items()
    }  # fmt: skip
    return Adapter(modules, "fresh")


def adapter(name: str) -> Path:
    """A shipped adapter by its name, or a folder."""
    return SHIPPED / name if (SHIPPED / name).is_dir() else Path(name)

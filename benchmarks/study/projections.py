"""Projections of rows on both directions: the passes behind SQSD and its variants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from benchmarks.study.data import Row
from benchmarks.study.plan import Start
from curation.sqsd.adapters import Adapter, LowRank, inner
from curation.sqsd.batching import budgeted, collate
from curation.sqsd.cards import FIRST_TOKENS, MATCHED_RANK
from curation.sqsd.directions import read_anchors
from curation.sqsd.encode import encode
from curation.sqsd.matching import mean_step
from curation.sqsd.models import SHIPPED, load_model
from curation.sqsd.projection import Projector, Term

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
    keys = [*(f"{term} {metric}" for term in terms for metric in ("cosine", "projection")), "loss", "norm"]
    found = {key: [math.nan] * len(rows) for key in keys}
    for group in budgeted(range(len(rows)), lambda i: len(rows[i].encoded), _BATCH):
        batch = collate([rows[i].encoded for i in group], loaded.pad_id)
        for term in terms:
            projection = projector.project(batch, term)
            values = {f"{term} {m}": projection.total(m) for m in ("cosine", "projection")}
            if term == "danger":
                values |= {"loss": projection.loss, "norm": projection.update_norm()}
            for key, column in values.items():
                for i, value in zip(group, column.tolist(), strict=True):
                    found[key][i] = value
    return found


def project_elsewhere(rows: Sequence[Row], other: Start) -> dict[str, list[float]]:
    """As SQSD does, with another model."""
    return project(_as_read_by(other, rows), other, "loaded")


def project_matched_elsewhere(rows: Sequence[Row], other: Start) -> dict[str, list[float]]:
    """Gradient matching with another model."""
    return project_matched(_as_read_by(other, rows), other)


def _as_read_by(other: Start, rows: Sequence[Row]) -> list[Row]:
    tokenizer = load_model(other.model).tokenizer
    return [Row(row.sample, encode(row.sample, tokenizer, 1024)) for row in rows]


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
    terms: dict[str, Term] = {}
    for term in ("danger", "safety"):
        anchors = [encode(sample, loaded.tokenizer, 1024) for sample in read_anchors(term).samples]
        terms[term] = Term(Adapter(mean_step(loaded.model, anchors, MATCHED_RANK).modules, term), None)
    projector = Projector(loaded.model, terms, "full")
    found: dict[str, list[float]] = {term: [math.nan] * len(rows) for term in terms}
    openings = [row.encoded.opening(FIRST_TOKENS) for row in rows]
    for group in budgeted(range(len(rows)), lambda i: len(openings[i]), _BATCH):
        batch = collate([openings[i] for i in group], loaded.pad_id)
        for term in terms:
            for i, value in zip(
                group, projector.project(batch, term).total("global-cosine").tolist(), strict=True
            ):
                found[term][i] = value
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

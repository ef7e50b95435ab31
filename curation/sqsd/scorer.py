"""The scorer: a model, two directions and two states turned into one risk score per sample.

    risk(x) = danger_projection(x) - safety_projection(x)          higher = riskier

A scorer is immutable; its fingerprint covers everything that changes a score.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import orjson
import torch

from curation.errors import EncodeError
from curation.samples.sample import Sample
from curation.sqsd.adapters import Adapter, generic_name, shared_beginning, total_norm
from curation.sqsd.batching import budgeted, collate
from curation.sqsd.cards import matching_options, read_card
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.models import LoadedModel
from curation.sqsd.projection import Metric, Projection, Projector, Term, Update, covered_share
from curation.sqsd.score import Redrawn, Score, Scored

SCORE_VERSION = 1
"""Raised whenever this code starts to give other numbers for the same inputs."""

_ALIKE = 0.7
"""From this overlap of their A on, two adapters count as begun from the same random matrices."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a scorer can be set to.

    `safety_scale` multiplies the safety state's LoRA scaling. Without `states` gradients are those of the model as it
    is, for updates of all weights. With `first_tokens` only so many trained tokens of each sample count.
    """

    metric: Metric = "cosine"
    update: Update = "lora"
    max_tokens: int = 1024
    safety_scale: float = 1.0
    first_tokens: int = 0
    states: bool = True


class Scorer:
    """Scores samples exactly, in batches, with one frozen forward and backward pass per state.

    `danger_state` and `safety_state` are where gradients are taken; the safety state defaults to the safety
    direction's own adapter, as in the authors' code. `draws`, by term, are other fits of its direction: what they
    would have given comes with every score and is no part of it. Raises AdapterError if anything does not fit the
    model.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        danger: Adapter,
        safety: Adapter,
        danger_state: Adapter | None,
        safety_state: Adapter | None = None,
        settings: Settings | None = None,
        *,
        draws: Mapping[str, Sequence[Adapter]] | None = None,
        token_budget: int | None = None,
    ) -> None:
        self.loaded = loaded
        self.settings = settings or Settings()
        on_gpu = loaded.model.device.type == "cuda"
        self.token_budget = token_budget or (16_384 if on_gpu else 2_048)
        at_safety = (safety_state or safety).scaled(self.settings.safety_scale)
        at = (danger_state, at_safety) if self.settings.states else (None, None)
        draws = draws or {}
        self.terms = {
            "danger": Term(danger, at[0], tuple(draws.get("danger", ()))),
            "safety": Term(safety, at[1], tuple(draws.get("safety", ()))),
        }
        self._coverage = covered_share(loaded.model, danger)
        self.projector = Projector(loaded.model, self.terms, self.settings.update)

    @cached_property
    def card(self) -> dict[str, Any]:
        """Everything a score depends on, and what it covers; JSON-able."""
        model = self.loaded.model
        return {
            "method": self.method,
            "reads": "risk = danger - safety; higher = riskier",
            "score_version": SCORE_VERSION,
            "model": {
                "name": self.loaded.name,
                "revision": self.loaded.revision,
                "class": type(model).__name__,
                "parameters": sum(p.numel() for p in model.parameters()),
                "dtype": str(model.dtype).removeprefix("torch."),
                "device": model.device.type,
                "attention": cast("str", getattr(model.config, "_attn_implementation", "")),
                "template": hashlib.sha256(str(self.loaded.tokenizer.chat_template).encode()).hexdigest(),
            },
            "metric": self.settings.metric,
            "update": self.settings.update,
            "max_tokens": self.settings.max_tokens,
            **({"first_tokens": first} if (first := self.settings.first_tokens) else {}),
            "directions": {
                name: {
                    "fingerprint": t.direction.fingerprint,
                    "norm": round(total_norm(t.direction.modules.values()), 4),
                }
                for name, t in self.terms.items()
            },
            "states": {name: t.state.fingerprint if t.state else None for name, t in self.terms.items()},
            "safety_scale": self.settings.safety_scale,
            "covers": {
                "modules": len(self.projector.scored_modules("danger")),
                "share_of_parameters": round(self._coverage, 4),
                "not_covered": _not_covered(self),
            },
        }

    @property
    def method(self) -> str:
        """What its risk is called: SQSD, or gradient matching, which knows no states and no modules."""
        stateless = not any(term.state for term in self.terms.values())
        return "gradient matching" if stateless and self.settings.metric == "global-cosine" else "SQSD"

    @property
    def doubt(self) -> str | None:
        """Why its scores may mean little, None if nothing speaks for it: directions made for another method, or a term
        that may drown the other (docs/method.md, "How firm a rank is").
        """
        cards = [read_card(t.direction.path) if t.direction.path else None for t in self.terms.values()]
        options = next(filter(None, map(matching_options, cards)), None)
        if options and self.method == "SQSD":
            return f"a direction is a mean gradient, made for gradient matching: score with {options}"
        alike = {
            n: shared_beginning(t.direction, t.state) >= _ALIKE for n, t in self.terms.items() if t.state
        }
        if len(set(alike.values())) < 2:
            return None
        heavy, light = sorted(alike, key=lambda name: not alike[name])
        return (
            f"the {light} direction and its state began from different random matrices, the {heavy} direction and "
            f"its state from the same: the {heavy} term will outweigh the other many times. Fit directions and states "
            "with one seed."
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the card less the model's name: equal fingerprints, equal scores."""
        model = {key: value for key, value in self.card["model"].items() if key != "name"}
        identity = self.card | {"model": model}
        return hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def score(self, samples: Iterable[Sample]) -> Iterator[Scored]:
        """Score a stream, batch by batch; results come in order of length within each look-ahead window.

        A sample that cannot be scored comes back with its reason instead; nothing is dropped.
        """
        for batch in self.score_batches(samples):
            yield from batch

    def score_batches(self, samples: Iterable[Sample]) -> Iterator[list[Scored]]:
        """As `score`, one list per batch, so that a caller can commit work as it is done."""
        failed: list[Scored] = []
        for group in budgeted(self._encoded(samples, failed), lambda item: len(item[1]), self.token_budget):
            yield self._score_group(group) + failed
            failed.clear()
        if failed:
            yield failed

    def encode(self, sample: Sample, *, pieces: bool = False) -> Encoded:
        """Tokens and trained mask of a sample as this scorer sees it. Raises EncodeError."""
        row = encode(sample, self.loaded.tokenizer, self.settings.max_tokens, pieces=pieces)
        return row.opening(self.settings.first_tokens) if self.settings.first_tokens else row

    def _encoded(self, samples: Iterable[Sample], failed: list[Scored]) -> Iterator[tuple[Sample, Encoded]]:
        for sample in samples:
            try:
                yield sample, self.encode(sample)
            except EncodeError as error:
                failed.append(Scored(sample, None, error.message))

    def _score_group(self, group: list[tuple[Sample, Encoded]]) -> list[Scored]:
        """Score one batch; out of memory, halve it (and the budget from now on)."""
        try:
            return self._score_batch(group)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(group) == 1:
            sample, row = group[0]
            return [Scored(sample, None, f"{len(row):,} tokens do not fit in memory")]
        self.token_budget = max(self.token_budget // 2, 1)
        half = len(group) // 2
        return self._score_group(group[:half]) + self._score_group(group[half:])

    def _score_batch(self, group: list[tuple[Sample, Encoded]]) -> list[Scored]:
        batch = collate([row for _, row in group], self.loaded.pad_id)
        danger = self.projector.project(batch, "danger")
        safety = self.projector.project(batch, "safety")
        totals = danger.total(self.settings.metric).tolist(), safety.total(self.settings.metric).tolist()
        norms, losses = danger.update_norm().tolist(), danger.loss.tolist()
        results = [
            _result(sample, row, *numbers)
            for (sample, row), *numbers in zip(group, *totals, losses, norms, strict=True)
        ]
        if not danger.draws and not safety.draws:
            return results
        redrawn = zip(*(_by_draw(term, self.settings.metric) for term in (danger, safety)), strict=True)
        return [
            replace(one, redrawn=Redrawn(*terms)) if one.score else one
            for one, terms in zip(results, redrawn, strict=True)
        ]


def _by_draw(found: Projection, metric: Metric) -> list[tuple[float, ...]]:
    """A term's value under each draw, one tuple per sample."""
    totals = torch.stack([draw.total(metric) for draw in found.draws or (found,)], 1)
    return [tuple(row) for row in totals.tolist()]


def _result(sample: Sample, row: Encoded, danger: float, safety: float, loss: float, norm: float) -> Scored:
    if not all(map(math.isfinite, (danger, safety, loss, norm))):
        return Scored(sample, None, "the score is not a finite number")
    score = Score(danger - safety, danger, safety, loss, norm, len(row), row.n_trained, row.truncated)
    return Scored(sample, score)


def _out_of_memory(error: BaseException) -> bool:
    return (
        not isinstance(error, RuntimeError)
        or isinstance(error, torch.OutOfMemoryError)
        or any(
            words in str(error) for words in ("not enough memory", "out of memory", "can't allocate memory")
        )
    )


def _not_covered(scorer: Scorer) -> list[str]:
    """Kinds of parameters that take no part in the score, named rather than dropped in silence."""
    covered = set(scorer.projector.scored_modules("danger"))
    return sorted(
        {
            generic_name(name)
            for name, _ in scorer.loaded.model.named_parameters()
            if name.rsplit(".", 1)[0] not in covered or name.endswith(".bias")
        }
    )

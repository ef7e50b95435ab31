"""Which tokens and modules a sample's score comes from.

Two token maps exist and mean different things; both sum to the sample's projection:

- *update position*: what the part of the update made at one token's position contributes (free from the
  hooks of the scoring pass; prompt positions contribute too);
- *loss token*: the rate at which one trained token's own loss would fall along the direction (a forward-mode
  derivative; zero outside the answer).

For `cosine` both are shares under the sample's own norms |delta_m| |V_m|.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from curation.samples.sample import Sample
from curation.sqsd.adapters import LowRank
from curation.sqsd.batching import Batch, collate
from curation.sqsd.loss import token_losses
from curation.sqsd.projection import Projection, Term, Update
from curation.sqsd.scorer import Scorer


@dataclass(frozen=True, slots=True)
class TermMap:
    """One term (danger or safety) of one sample: its projection, split by module, position and loss token."""

    total: float
    by_module: dict[str, float]
    by_position: list[float]
    by_loss_token: list[float] | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A sample's tokens (text and whether trained) with the maps of both terms; risk = danger - safety."""

    pieces: tuple[str, ...]
    trained: tuple[bool, ...]
    danger: TermMap
    safety: TermMap

    @property
    def risk(self) -> float:
        return self.danger.total - self.safety.total

    def risk_by_position(self) -> list[float]:
        """Contribution of an update at each token position to the risk; sums to it. Higher = riskier."""
        return [d - s for d, s in zip(self.danger.by_position, self.safety.by_position, strict=True)]

    def risk_by_loss_token(self) -> list[float] | None:
        """Contribution of each trained token's loss to the risk; sums to it. Higher = riskier."""
        danger, safety = self.danger.by_loss_token, self.safety.by_loss_token
        if danger is None or safety is None:
            return None
        return [d - s for d, s in zip(danger, safety, strict=True)]

    def risk_by_module(self) -> dict[str, float]:
        """Contribution of each module to the risk; sums to it. Higher = riskier."""
        names = dict.fromkeys([*self.danger.by_module, *self.safety.by_module])
        return {n: self.danger.by_module.get(n, 0.0) - self.safety.by_module.get(n, 0.0) for n in names}


def explain(scorer: Scorer, sample: Sample, *, loss_tokens: bool = False) -> Explanation:
    """Score one sample and say where its score comes from. `loss_tokens` adds the second token map, at the
    cost of one forward-mode pass per term. Raises EncodeError if the sample cannot be expressed."""
    row = scorer.encode(sample, pieces=True)
    batch = collate([row], scorer.loaded.pad_id)
    maps = {name: _term_map(scorer, name, batch, loss_tokens) for name in scorer.terms}
    return Explanation(row.pieces, row.trained, maps["danger"], maps["safety"])


def _term_map(scorer: Scorer, name: str, batch: Batch, loss_tokens: bool) -> TermMap:
    found = scorer.projector.project(batch, name, positions=True)
    metric, term = scorer.settings.metric, scorer.terms[name]
    weights = found.weights(metric)
    positions = (cast("Tensor", found.by_position) * weights.unsqueeze(2)).sum(1)[0]
    by_module = dict(zip(found.modules, found.by_module(metric)[0].tolist(), strict=True))
    rates = None
    if loss_tokens:
        rates = _loss_token_rates(scorer, term, batch, found, weights[0])
    return TermMap(float(found.total(metric)[0]), by_module, positions.tolist(), rates)


def _loss_token_rates(
    scorer: Scorer, term: Term, batch: Batch, found: Projection, weights: Tensor
) -> list[float]:
    """-(1/n) d loss_j / d epsilon as the weights move by epsilon * sum_m weight_m D_m, per token of the batch.

    D_m is the weight change whose inner product with -gradient is the module's dot: s (V A'A + B B'V) for a
    LoRA update, V for a full one. It is applied as low-rank products, never formed.
    """
    model = scorer.loaded.model
    batch = batch.to(model.device)
    scale = dict(zip(found.modules, weights.tolist(), strict=True))
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
        # a scalar dual number: value 0, derivative 1
        epsilon = forward_ad.make_dual(
            torch.zeros((), device=model.device), torch.ones((), device=model.device)
        )
        with _moving(model, term, scorer.settings.update, scale, epsilon):
            losses = token_losses(model, batch)
        tangent = cast("Tensor", forward_ad.unpack_dual(losses).tangent)
    rates = torch.zeros(batch.ids.shape[1])
    rates[batch.trained[0].cpu()] = -tangent.float().cpu() / len(tangent)
    return rates.tolist()


@contextmanager
def _moving(
    model: PreTrainedModel, term: Term, update: Update, scale: dict[str, float], epsilon: Tensor
) -> Generator[None]:
    """The model at the term's state, every scored module moving along its D_m at rate `epsilon`."""

    def mover(state: LowRank | None, direction: LowRank | None, weight: float) -> Callable[..., Tensor]:
        def hook(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
            x = cast("Tensor", args[0])
            if state is not None:
                output = output + (state.scaling * (x @ state.A.to(x).T) @ state.B.to(x).T).to(output)
            if direction is not None:
                output = output + (epsilon * weight * _along(x.float(), state, direction, update)).to(output)
            return output

        return hook

    states = term.state.modules if term.state else {}
    directions = term.direction.modules
    handles = [
        model.get_submodule(n).register_forward_hook(
            mover(states.get(n), directions.get(n), scale.get(n, 0.0))
        )
        for n in dict.fromkeys([*states, *directions])
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _along(x: Tensor, state: LowRank | None, V: LowRank, update: Update) -> Tensor:
    """x D' for the module's D, through low-rank products."""
    VA, VB = V.A.to(x), V.B.to(x)
    if update == "full" or state is None:
        return (x @ VA.T) @ VB.T
    A, B = state.A.to(x), state.B.to(x)
    from_A = (x @ A.T) @ (A @ VA.T) @ VB.T
    from_B = (x @ VA.T) @ (VB.T @ B) @ B.T
    return state.scaling * (from_A + from_B)

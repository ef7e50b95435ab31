"""The exact batched score: projections of every sample's induced update, from one backward per state.

Notation (docs/method.md derives it). For one linear module with frozen weight W (O x I), the state's adapter
A (r x I), B (O x r) and scaling s, and one sample's token inputs a_t and output gradients g_t:

    P = sum_t g_t (A a_t)'   (O x r)        gB = s P
    Q = sum_t (B' g_t) a_t'  (r x I)        gA = s Q
    delta = -(gB A + B gA)                  the induced update at learning rate 1, O x I, never formed
    <delta, V> = -s (<P, B_d (A_d A')> + <Q, (B' B_d) A_d>)         for V = B_d A_d
    |delta|^2  = s^2 (<P'P, AA'> + <QQ', B'B> + 2 <B'P, QA'>)

P and Q of a whole batch of different samples come out of one forward and one backward pass through frozen
weights: the sum of the samples' mean losses is differentiated with respect to activations only, and rows of a
batch do not mix. For full-parameter fine-tuning delta = -sum_t g_t a_t', and its norm comes from T x T Gram
matrices.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from curation.errors import AdapterError
from curation.sqsd.adapters import Adapter, weight_shape
from curation.sqsd.batching import Batch
from curation.sqsd.linear import FusedLinear, Measured, Probe, adapted_linear, settle
from curation.sqsd.loss import row_means, token_losses

Metric = Literal["cosine", "projection", "dot", "global-cosine"]
Update = Literal["lora", "full"]


@dataclass(frozen=True, slots=True)
class Term:
    """One half of the score: the direction projected on, and the state gradients are taken at.

    `state` may be None (the model as it is) for full-parameter updates only. `draws` are other fits of the direction,
    on the same modules: updates are projected on them too, from the same gradients.
    """

    direction: Adapter
    state: Adapter | None
    draws: tuple[Adapter, ...] = ()

    @property
    def directions(self) -> tuple[Adapter, ...]:
        return (self.direction, *self.draws)


@dataclass(frozen=True, slots=True)
class Projection:
    """What one pass over a batch of n samples yields, fp32 on the CPU.

    `dot` and `square` are <delta_m, V_m> and |delta_m|^2, (n, modules); `loss` (n,) is the mean cross-entropy
    of the trained tokens; `by_position` (n, modules, T) splits `dot` over update positions, where asked for. `draws`:
    the same on the draws of the direction, one after the other.
    """

    modules: tuple[str, ...]
    direction_norm: Tensor
    dot: Tensor
    square: Tensor
    loss: Tensor
    by_position: Tensor | None = None
    draws: tuple[Projection, ...] = ()

    def weights(self, metric: Metric) -> Tensor:
        """What a metric multiplies each module's dot with, (n, modules); 0 where an update is exactly zero."""
        match metric:
            case "dot":
                norm = torch.ones_like(self.dot)
            case "projection":
                norm = self.direction_norm.expand_as(self.dot)
            case "cosine":
                norm = self.square.sqrt() * self.direction_norm
            case "global-cosine":
                whole = self.square.sum(1, keepdim=True).sqrt() * self.direction_norm.norm()
                norm = whole.expand_as(self.dot)
        return torch.where(norm > 0, 1 / norm, 0)

    def by_module(self, metric: Metric) -> Tensor:
        """The metric in each module, (n, modules); cosines lie in [-1, 1], and so does the sum of a global one."""
        return self.dot * self.weights(metric)

    def total(self, metric: Metric) -> Tensor:
        """The samples' projections, (n,): the sum over modules."""
        return self.by_module(metric).sum(1)

    def update_norm(self) -> Tensor:
        """|delta| over all scored modules together, (n,)."""
        return self.square.sum(1).sqrt()


class Projector:
    """A frozen model prepared to project samples on one or more named terms.

    The weights of the adapted modules are moved (not changed) into slightly wider matrices that also hold the
    small factors of all terms, so the products with A and B ride along in the matrix products the model does
    anyway. Memory over the model itself: the factors, and the activations of one batch.
    """

    def __init__(self, model: PreTrainedModel, terms: Mapping[str, Term], update: Update = "lora") -> None:
        self.model = model.eval().requires_grad_(False)
        self.update: Update = update
        for term in terms.values():
            _check(term, model, update)
        layers = dict(model.named_modules())
        self._probes: dict[str, dict[str, Probe]] = {name: {} for name in terms}
        for module in _union(terms):
            fused = FusedLinear(layers[module])
            for name, term in terms.items():
                state = term.state.modules.get(module) if term.state else None
                along = [d.modules[module] for d in term.directions if module in d.modules]
                self._probes[name][module] = Probe(fused, state, along, update)
            fused.build()
        self._norms = {
            name: [
                torch.tensor([d.modules[m].norm() for m in self.scored_modules(name)]) for d in t.directions
            ]
            for name, t in terms.items()
        }

    def scored_modules(self, term: str) -> tuple[str, ...]:
        """Names of the modules whose update is projected under a term."""
        return tuple(n for n, probe in self._probes[term].items() if probe.directions)

    def project(self, batch: Batch, term: str, *, positions: bool = False) -> Projection:
        """One frozen forward and backward of the batch at the term's state. `positions` keeps per-token terms."""
        batch = batch.to(self.model.device)
        probes = self._probes[term]
        found: dict[str, Measured] = {}
        with self._attached(probes, found, positions), differentiable_inputs(self.model):
            losses = row_means(token_losses(self.model, batch), batch)
            losses.sum().backward()
        names = self.scored_modules(term)
        if missing := [n for n in names if n not in found]:
            raise AdapterError(f"{len(missing)} modules took no part in the forward pass, {missing[0]} first")
        measured = [found[n] for n in names]
        dots, square = settle([probes[n] for n in names], measured)
        square, loss = square.clamp_min(0).cpu(), losses.detach().cpu()
        own, *draws = (
            Projection(names, norm, dot, square, loss)
            for norm, dot in zip(self._norms[term], dots.cpu(), strict=True)
        )
        by_position = [m.by_position for m in measured if m.by_position is not None]
        return replace(
            own, by_position=torch.stack(by_position, 1).cpu() if positions else None, draws=tuple(draws)
        )

    @contextmanager
    def _attached(
        self, probes: Mapping[str, Probe], found: dict[str, Measured], positions: bool
    ) -> Generator[None]:
        """Let the adapted modules run through their probes, which leave their measurements in `found`."""
        layers = {name: self.model.get_submodule(name) for name in probes}

        def record(name: str, measured: Measured) -> None:
            if name in found:
                raise AdapterError(
                    f"{name} runs more than once in a forward pass (a shared module), so its update cannot be "
                    "attributed",
                    "Use an adapter that leaves this module out.",
                )
            found[name] = measured

        for name, probe in probes.items():
            run = partial(adapted_linear, probe=probe, record=partial(record, name), positions=positions)
            layers[name].forward = run
        try:
            yield
        finally:
            for layer in layers.values():
                del layer.forward


def _union(terms: Mapping[str, Term]) -> list[str]:
    """Every module that any state or direction touches, once, in the first one's order."""
    return list(
        dict.fromkeys(n for t in terms.values() for a in (*t.directions, t.state) if a for n in a.modules)
    )


def _check(term: Term, model: PreTrainedModel, update: Update) -> None:
    for adapter in (*term.directions, term.state):
        if adapter is not None:
            adapter.check_fits(model)
    if odd := [d for d in term.draws if set(d.modules) != set(term.direction.modules)]:
        raise AdapterError(
            f"the draw {odd[0].path or ''} adapts other modules than the direction {term.direction.path or ''}",
            "Delete it, and draw again: curation directions resample --help",
        )
    if update == "full":
        return
    if term.state is None:
        raise AdapterError(
            "the update of a LoRA needs an initial state to take gradients at",
            "Give --danger-state and --safety-state, or score full-parameter updates with --update full.",
        )
    if lost := [n for n in term.direction.modules if n not in term.state.modules]:
        raise AdapterError(
            f"the direction {term.direction.path or ''} has {len(lost)} modules that the state "
            f"{term.state.path or ''} lacks, {lost[0]} first: their part of the score would be dropped",
            "Use a state trained on at least the same modules: curation directions fit-state --help",
        )


@contextmanager
def differentiable_inputs(model: PreTrainedModel) -> Generator[None]:
    """Start the backward graph at the token embeddings, whose weights stay frozen."""

    def require(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return output.requires_grad_()

    handle = model.get_input_embeddings().register_forward_hook(require)
    try:
        yield
    finally:
        handle.remove()


def covered_share(model: PreTrainedModel, direction: Adapter) -> float:
    """Share of the model's parameters that lie in modules the direction covers, in [0, 1]."""
    layers = dict(model.named_modules())
    covered = sum(o * i for o, i in (weight_shape(layers[n]) for n in direction.modules))
    return covered / sum(p.numel() for p in model.parameters())

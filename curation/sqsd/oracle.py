"""The same score the slow, obvious way: one sample at a time, dense matrices, plain autograd.

This is the definition the fast path (projection.py) is tested against, and stands for the authors' own
procedure in benchmarks. It shares no computation with the fast path beyond the loaded adapters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from curation.sqsd.adapters import Adapter
from curation.sqsd.encode import Encoded
from curation.sqsd.projection import Metric, Term, Update


def project_dense(
    model: PreTrainedModel, row: Encoded, term: Term, metric: Metric = "cosine", update: Update = "lora"
) -> dict[str, float]:
    """The metric between one sample's update and the direction in every module; their sum is the projection."""
    if update == "lora":
        deltas = _lora_update(model, row, cast("Adapter", term.state))
    else:
        deltas = _full_update(model, row, term)
    along = {name: (pair.B @ pair.A).to(deltas[name]) for name, pair in term.direction.modules.items()}
    if metric == "global-cosine":
        sizes = (torch.cat([x[n].float().flatten() for n in along]).norm() for x in (deltas, along))
        whole = math.prod(float(size) for size in sizes)
        return {name: _compare(deltas[name], V, "dot") / whole for name, V in along.items()}
    return {name: _compare(deltas[name], V, metric) for name, V in along.items()}


def _compare(delta: Tensor, V: Tensor, metric: Literal["cosine", "projection", "dot"]) -> float:
    dot = (delta.float() * V.float()).sum()
    match metric:
        case "dot":
            value = dot
        case "projection":
            value = dot / V.float().norm()
        case "cosine":
            value = dot / (delta.float().norm() * V.float().norm())
    return float(value)


def _loss(model: PreTrainedModel, row: Encoded) -> Tensor:
    ids = torch.tensor([row.ids], device=model.device)
    labels = torch.where(torch.tensor([row.trained], device=model.device), ids, -100)
    return cast("Tensor", model(input_ids=ids, labels=labels, use_cache=False).loss)


def _lora_update(model: PreTrainedModel, row: Encoded, state: Adapter) -> dict[str, Tensor]:
    """-(gB A + B gA) per module, gradients of the mean loss at the loaded adapter."""
    dtype, device = model.dtype, model.device
    factors = {
        n: (_leaf(p.A, device, dtype), _leaf(p.B, device, dtype), p.scaling) for n, p in state.modules.items()
    }
    with _loaded(model, factors):
        _loss(model, row).backward()
    return {n: -(_grad(B) @ A + B @ _grad(A)).detach() for n, (A, B, _) in factors.items()}


def _full_update(model: PreTrainedModel, row: Encoded, term: Term) -> dict[str, Tensor]:
    """-gradient of the weight itself, at the state if there is one."""
    dtype, device = model.dtype, model.device
    state = term.state.modules if term.state else {}
    factors = {n: (p.A.to(device, dtype), p.B.to(device, dtype), p.scaling) for n, p in state.items()}
    layers = {n: model.get_submodule(n) for n in term.direction.modules}
    weights = {n: cast("nn.Parameter", layer.weight) for n, layer in layers.items()}
    for weight in weights.values():
        weight.requires_grad_(True)
        weight.grad = None
    try:
        with _loaded(model, factors):
            _loss(model, row).backward()
        deltas = {n: -_grad(w) for n, w in weights.items()}
        return {n: d.T if isinstance(layers[n], Conv1D) else d for n, d in deltas.items()}
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)
            weight.grad = None


def _leaf(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(device, dtype, copy=True).requires_grad_()


def _grad(tensor: Tensor) -> Tensor:
    return cast("Tensor", tensor.grad)


@contextmanager
def _loaded(model: PreTrainedModel, factors: dict[str, tuple[Tensor, Tensor, float]]) -> Generator[None]:
    def adapt(A: Tensor, B: Tensor, scaling: float) -> Callable[..., Tensor]:
        def hook(_: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
            return output + scaling * (args[0] @ A.T) @ B.T

        return hook

    handles = [model.get_submodule(n).register_forward_hook(adapt(*f)) for n, f in factors.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

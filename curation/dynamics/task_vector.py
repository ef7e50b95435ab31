"""The running task vector of a training run, theta_t - theta_0, measured along directions.

    a LoRA             D_m = s (B A - B_0 A_0) = s [B - B_0, B_0] [A; A - A_0]     of rank 2 r
    all weights        D_m = W - W_0
    cosine in m        <D_m, V_m> / (|D_m| |V_m|)
    projection in m    <D_m, V_m> / |V_m|

for V_m = B_d A_d, a direction's own scaling left out as everywhere. D_m is what the weight itself has changed by,
the run's scaling s included. A LoRA's D_m is never formed: its factors go through r x r products. Of its two
spellings the first loses its digits where a run starts at a loaded adapter and has moved little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from accelerate.utils import extract_model_from_parallel
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from curation.errors import AdapterError
from curation.sqsd.adapters import Adapter, LowRank, generic_name, inner, weight_shape

_SAMPLED = 4096
"""Entries of each weight that its fingerprint is made of: another start differs in nearly all of them."""


@dataclass(frozen=True, slots=True)
class Along:
    """Where a run stands along one direction.

    `cosine` and `projection` are sums over the modules that the direction covers and the run trains, as in a
    sample's score; `norm` is |theta_t - theta_0| over the same modules. `modules` maps each of them to its own
    (cosine, projection). A module that has not moved counts 0.
    """

    cosine: float
    projection: float
    norm: float
    modules: dict[str, tuple[float, float]]


class TaskVector:
    """A model and where it started, in the modules that any of the named directions covers.

    Memory: for a LoRA its start factors, and nothing while B is still zero; for a module trained in full a copy
    of its weight, on the CPU. Raises AdapterError if a direction does not fit the model, if the run trains none
    of its modules, or trains one in a way that is neither plain LoRA nor plain weights.
    """

    def __init__(self, model: nn.Module, directions: Mapping[str, Adapter]) -> None:
        self.directions = dict(directions)
        self._sizes = {k: {m: V.norm() for m, V in d.modules.items()} for k, d in directions.items()}
        self._followed: dict[str, _Module] = {}
        self.shared: list[str] = []
        """Modules that are another name of a weight already followed: one weight moves once."""
        bare = _bare(model)
        layers = dict(bare.named_modules(remove_duplicate=False))
        seen: set[int] = set()
        for name in dict.fromkeys(n for d in directions.values() for n in d.modules):
            shapes = {d.modules[name].shape for d in directions.values() if name in d.modules}
            module = _follow(name, layers.get(name), shapes)
            if module is None:
                continue
            if seen & (own := {id(p) for p in module.parameters()}):
                self.shared.append(name)
            else:
                self._followed[name] = module
            seen |= own
        trained = ((n, p) for n, p in bare.named_parameters() if p.requires_grad)
        self.not_covered = sorted({generic_name(n) for n, p in trained if id(p) not in seen})
        """Kinds of trained parameters that no direction covers."""
        if idle := [k for k in directions if len(self.not_trained(k)) == len(directions[k].modules)]:
            raise AdapterError(
                f"this run trains none of the modules that the {idle[0]} direction covers",
                "Use directions fitted on at least some of the modules that are trained.",
            )

    @property
    def update(self) -> str:
        """How the modules are trained: "lora", "full", or "lora and full"."""
        return " and ".join(sorted({m.kind for m in self._followed.values()}, reverse=True))

    def not_trained(self, direction: str) -> list[str]:
        """Modules of a direction that the run leaves as they are, in the direction's order."""
        known = {*self._followed, *self.shared}
        return [name for name in self.directions[direction].modules if name not in known]

    def start(self) -> str:
        """Fingerprint (hex) of where the run started: the same for the same task vector theta_0."""
        digest = hashlib.sha256()
        for name, module in sorted(self._followed.items()):
            for part in module.start():
                flat = part.flatten()
                entries = flat[:: max(1, flat.numel() // _SAMPLED)].float()
                digest.update(name.encode() + entries.numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def along(self) -> dict[str, Along]:
        """Where the model is now, along each direction. Neither weights nor random numbers are touched."""
        dots: dict[str, dict[str, float]] = {name: {} for name in self.directions}
        squares: dict[str, float] = {}
        for name, module in self._followed.items():
            pairs = {k: V for k, d in self.directions.items() if (V := d.modules.get(name))}
            squares[name], found = module.measure(list(pairs.values()))
            for direction, dot in zip(pairs, found, strict=True):
                dots[direction][name] = dot
        return {k: _compare(dots[k], squares, self._sizes[k]) for k in self.directions}


def _compare(dots: Mapping[str, float], squares: Mapping[str, float], sizes: Mapping[str, float]) -> Along:
    modules: dict[str, tuple[float, float]] = {}
    for name, dot in dots.items():
        size, norm = sizes[name], squares[name] ** 0.5
        modules[name] = (dot / (norm * size) if norm * size else 0.0, dot / size if size else 0.0)
    return Along(
        sum(cosine for cosine, _ in modules.values()),
        sum(projection for _, projection in modules.values()),
        sum(squares[name] for name in dots) ** 0.5,
        modules,
    )


class _Module(Protocol):
    """One trained module: its start, and how far it has moved."""

    @property
    def kind(self) -> str: ...

    def parameters(self) -> Iterable[nn.Parameter]: ...

    def start(self) -> Iterable[Tensor]:
        """What the start consists of, on the CPU; nothing where it is zero."""
        ...

    def measure(self, directions: Sequence[LowRank]) -> tuple[float, list[float]]:
        """|D|^2, and <D, V> for each direction."""
        ...


class _Lora:
    """A module with one or more LoRAs in training. Gram matrices are taken in fp64 on the CPU."""

    kind = "lora"

    def __init__(self, layer: LoraLayer, adapters: Sequence[str]) -> None:
        self._layer, self._adapters = cast("Any", layer), adapters
        # where B is zero the start is, whatever A was drawn: a run built anew has the same one
        self._start = {n: pair for n in adapters if (pair := self._factors(n)).B.any()}

    def parameters(self) -> list[nn.Parameter]:
        return [f[n].weight for n in self._adapters for f in (self._layer.lora_A, self._layer.lora_B)]

    def start(self) -> list[Tensor]:
        return [factor for pair in self._start.values() for factor in (pair.A, pair.B)]

    def measure(self, directions: Sequence[LowRank]) -> tuple[float, list[float]]:
        pairs: list[tuple[Tensor, Tensor]] = []
        for name in self._adapters:
            now, start = self._factors(name), self._start.get(name)
            if start is None:
                pairs.append((now.A, now.scaling * now.B))
            else:
                pairs += [
                    (now.A, now.scaling * (now.B - start.B)),
                    (now.A - start.A, now.scaling * start.B),
                ]
        moved = LowRank(torch.cat([A for A, _ in pairs]), torch.cat([B for _, B in pairs], 1), 1.0)
        square = inner(moved, moved).clamp_min(0)  # nan stays nan
        return float(square), [float(inner(moved, V)) for V in directions]

    def _factors(self, name: str) -> LowRank:
        factors = (self._layer.lora_A[name].weight, self._layer.lora_B[name].weight)
        A, B = (f.detach().to("cpu", torch.float64, copy=True) for f in factors)
        return LowRank(A, B, float(self._layer.scaling[name]))


class _Full:
    """A linear layer whose own weight is in training; differences are taken in fp32 where the weight is."""

    kind = "full"

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self._start = self._weight().detach().to("cpu", copy=True)

    def parameters(self) -> list[nn.Parameter]:
        return [cast("nn.Parameter", self._layer.weight)]

    def start(self) -> list[Tensor]:
        return [self._start]

    def measure(self, directions: Sequence[LowRank]) -> tuple[float, list[float]]:
        now = self._weight().detach()
        try:
            return self._measure(now, directions)
        except torch.OutOfMemoryError:  # a full GPU is no reason to stop a training run
            return self._measure(now.cpu(), directions)

    def _measure(self, now: Tensor, directions: Sequence[LowRank]) -> tuple[float, list[float]]:
        moved = now.float() - self._start.to(now.device).float()
        moved = moved.T if isinstance(self._layer, Conv1D) else moved
        # <D, B A> = <B' D, A>: the direction stays low-rank
        dots = [((V.B.to(moved).T @ moved) * V.A.to(moved)).sum().item() for V in directions]
        return moved.square().sum().item(), dots

    def _weight(self) -> Tensor:
        return cast("Tensor", self._layer.weight)


def _follow(name: str, layer: nn.Module | None, shapes: set[tuple[int, int]]) -> _Module | None:
    """The module as it will be followed, None if the run does not train it. Raises AdapterError."""
    if layer is None:
        raise AdapterError(
            f"the directions cover {name}, which this model does not have",
            "Directions belong to one model: fit them for this one (curation directions fit --help).",
        )
    base = layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer
    if isinstance(layer, LoraLayer):
        module = _lora(name, layer)
        found = (int(cast("int", layer.out_features)), int(cast("int", layer.in_features)))
    elif type(base) in (nn.Linear, Conv1D) and base is layer:
        module = _Full(layer) if cast("Tensor", layer.weight).requires_grad else None
        found = weight_shape(layer)
    elif any(p.requires_grad for p in layer.parameters()):
        raise AdapterError(
            f"{name} is trained as {type(layer).__name__}, whose task vector is not known",
            "The dynamics of plain LoRA and of plain weights can be recorded.",
        )
    else:
        return None
    if shapes != {found}:
        raise AdapterError(
            f"the directions are {' and '.join(map(str, shapes))} in {name}, the model {found} (out, in)",
            "Directions belong to one model, whose weights must be whole in every process (no FSDP or ZeRO-3).",
        )
    return module


def _lora(name: str, layer: LoraLayer) -> _Lora | None:
    parts = cast("Any", layer)
    adapters = [
        a
        for a in parts.active_adapters
        if a in parts.lora_A and any(f[a].weight.requires_grad for f in (parts.lora_A, parts.lora_B))
    ]
    if odd := [a for a in adapters if parts.lora_variant.get(a) or parts.lora_bias.get(a)]:
        raise AdapterError(
            f"the adapter {odd[0]} of {name} is no plain LoRA: its update is not B A",
            "Train without DoRA, other variants and LoRA biases to record the dynamics.",
        )
    return _Lora(layer, adapters) if adapters else None


def _bare(model: nn.Module) -> nn.Module:
    """The model under whatever distributes, compiles or adapts it: its modules have the names directions use."""
    model = extract_model_from_parallel(model, keep_torch_compile=False)
    return model.get_base_model() if isinstance(model, PeftModel) else model

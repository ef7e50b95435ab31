"""How large a direction is in each module, and how it lies to another one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from curation.sqsd.adapters import Adapter, cosines


@dataclass(frozen=True, slots=True)
class ModuleNorm:
    """One module of a direction: the norm of V = B A, and its cosine with another direction, if any."""

    module: str
    norm: float
    cosine: float | None

    @property
    def layer(self) -> int | None:
        """The first number in the module's name."""
        return next((int(part) for part in self.module.split(".") if part.isdigit()), None)

    @property
    def type(self) -> str:
        """The name below the layer: `self_attn.q_proj`."""
        return re.sub(r"^.*\.\d+\.", "", self.module)


def module_norms(adapter: Adapter, other: Adapter | None = None) -> list[ModuleNorm]:
    """Norm of every module, and its cosine with `other` in the modules both have, in the adapter's order."""
    shared = cosines(adapter, other) if other else {}
    return [ModuleNorm(name, pair.norm(), shared.get(name)) for name, pair in adapter.modules.items()]


@dataclass(frozen=True, slots=True)
class TypeSummary:
    """Modules of one type over all layers. `share` is their part of the direction's squared norm, 0 to 1."""

    type: str
    count: int
    share: float
    mean: float
    largest: float
    largest_layer: int | None
    cosine: tuple[float, float, float] | None
    """Mean, smallest and largest cosine."""


def by_type(norms: Iterable[ModuleNorm]) -> list[TypeSummary]:
    """One summary per module type, in order of appearance."""
    groups: dict[str, list[ModuleNorm]] = {}
    for module in norms:
        groups.setdefault(module.type, []).append(module)
    total = sum(m.norm**2 for group in groups.values() for m in group) or 1.0
    return [_summary(name, group, total) for name, group in groups.items()]


def _summary(name: str, group: list[ModuleNorm], total: float) -> TypeSummary:
    norms = [m.norm for m in group]
    top = max(group, key=lambda m: m.norm)
    angles = [m.cosine for m in group if m.cosine is not None]
    return TypeSummary(
        name,
        len(group),
        sum(n * n for n in norms) / total,
        fmean(norms),
        top.norm,
        top.layer,
        (fmean(angles), min(angles), max(angles)) if angles else None,
    )

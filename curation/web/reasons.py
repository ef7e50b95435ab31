"""Where a score comes from within the model: shares of modules, and what they add up to by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from curation.ledger.explanations import ModuleShare

STRONGEST = 12
"""Modules that are listed."""

_LAYER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


class Part(NamedTuple):
    """A module or layer. `share` is its risk over the largest magnitude beside it, -1 to 1."""

    name: str
    danger: float
    safety: float
    risk: float
    share: float


def strongest(modules: Mapping[str, ModuleShare]) -> list[Part]:
    """The modules that add most to the risk, or take most from it."""
    parts = _parts(modules)
    return sorted(parts, key=lambda part: -abs(part.risk))[:STRONGEST]


def layers(modules: Mapping[str, ModuleShare]) -> list[Part]:
    """Sums over the modules of each layer, from the first layer to the last; empty if modules are in no layers."""
    sums: dict[int, list[float]] = {}
    for name, share in modules.items():
        if found := _LAYER.search(name):
            layer = sums.setdefault(int(found[1]), [0.0, 0.0])
            layer[0] += share.danger
            layer[1] += share.safety
    return _parts({str(number): ModuleShare(*sums[number]) for number in sorted(sums)})


def _parts(shares: Mapping[str, ModuleShare]) -> list[Part]:
    largest = max((abs(one.danger - one.safety) for one in shares.values()), default=0.0) or 1.0
    return [
        Part(name, one.danger, one.safety, one.danger - one.safety, (one.danger - one.safety) / largest)
        for name, one in shares.items()
    ]

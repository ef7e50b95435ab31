"""Draws of a direction: what it would have been, had its anchors been drawn anew.

A draw is the same fit, seed included, on as many anchor rows drawn with replacement (a bootstrap draw). The seed stays
because it is where the LoRA begins: a direction that begins elsewhere than the state at which gradients are taken has
next to nothing in common with it, and terms a tenth the size and less (docs/method.md). Draws lie in the home under
the fingerprint of the direction they belong to, so those of a direction that was fitted anew are never taken for the
new one's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from curation.errors import AdapterError, InputError
from curation.sqsd.adapters import Adapter
from curation.sqsd.cards import Card, TrainSettings, read_card
from curation.sqsd.directions import AnchorSet, fit
from curation.sqsd.models import LoadedModel

OnDraw = Callable[[int, int, int, float], None]
"""Called after every step of a fit: number of the draw (from 1), step, steps of the fit, loss (nats)."""


def draws_folder(home: Path, direction: Adapter) -> Path:
    """Where the draws of a direction lie, one numbered adapter directory each."""
    return home / "draws" / direction.fingerprint[:16]


def find_draws(home: Path, direction: Adapter) -> tuple[Adapter, ...]:
    """The draws of a direction that there are, in the order of their numbers."""
    return tuple(Adapter.load(folder) for folder in _numbered(draws_folder(home, direction)))


def resample(
    loaded: LoadedModel,
    direction: Adapter,
    anchors: AnchorSet,
    home: Path,
    count: int,
    *,
    on_step: OnDraw | None = None,
) -> list[Path]:
    """Fit what is missing of the first `count` draws of a direction; returns their folders.

    Stopped at any moment it keeps every draw that is complete. The same number gives the same rows. Raises
    AdapterError if the direction does not say how it was fitted, InputError if `anchors` are not those it was
    fitted on.
    """
    card = _card_of(direction)
    settings = settings_of(card)
    if anchors.sha256 != card["anchors"]["sha256"]:
        raise InputError(
            f"{anchors.name} holds other rows than {direction.path} was fitted on ({card['anchors']['name']})",
            "Give the very anchors with --anchors, or fit the direction anew: curation directions fit --help",
        )
    folders = [draws_folder(home, direction) / f"{number:02}" for number in range(1, count + 1)]
    for number, folder in enumerate(folders, start=1):
        if folder.is_dir():
            continue
        drawn = draw(anchors, number)
        distinct = len({sample.id for sample in drawn.samples})
        fit(
            loaded,
            drawn,
            card["kind"],
            folder,
            settings,
            licence=card["licence"],
            more={"draw": {"of": direction.fingerprint, "number": number, "distinct": distinct}},
            on_step=partial(on_step, number) if on_step else None,
        )
    return folders


def draw(anchors: AnchorSet, number: int) -> AnchorSet:
    """As many rows as there are, drawn with replacement; the number says which draw, whatever the rows' order."""
    rows = sorted(anchors.samples, key=lambda sample: sample.id)
    chosen = random.Random(number).choices(rows, k=len(rows))  # noqa: S311
    return replace(anchors, samples=tuple(chosen))


def settings_of(card: Card) -> TrainSettings:
    """The settings that a direction was fitted with."""
    given: dict[str, Any] = card["settings"]
    return replace(TrainSettings(**given), target=tuple(given["target"]))


def _card_of(direction: Adapter) -> Card:
    """The card of a direction that was fitted here."""
    card: dict[str, Any] = (read_card(direction.path) if direction.path else None) or {}
    if "loss" not in card or "anchors" not in card:
        raise AdapterError(
            f"{direction.path} does not say what it was fitted on, so nothing can be drawn anew",
            "Only directions fitted here have draws: curation directions fit --help",
        )
    return card


def _numbered(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.name.isdigit())

"""Cards: the JSON file beside an adapter that says what it is, what it was made from, and how.

Nothing here needs torch, so a command line can show its defaults without waiting for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

import orjson

from curation import __version__
from curation.errors import AdapterError, InputError
from curation.whole_file import whole_file

CARD_FILE = "curation_card.json"
CONFIG_FILE = "adapter_config.json"
SHIPPED = Path(str(files("curation") / "assets" / "smollm2"))
"""Adapters for the demo model that come with this package: aligned, danger, safety, benign-state."""

LICENCE = "Derived from the model and the anchor set named here: the licences of both apply."

MEAN_GRADIENT = "mean gradient"
"""What the card of a direction says it was `made_of` if nothing was trained."""

MATCHED_RANK = 16
"""Rank at which a mean gradient is kept."""
FIRST_TOKENS = 10
"""Answer tokens that count in gradient matching: whether a model refuses is decided in the first few."""

Kind = Literal["danger", "safety", "state"]
Card = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Hyper-parameters of a fit; the defaults suit a few dozen short anchors.

    `target` names the linear modules to adapt by the end of their names (`q_proj`); empty means all of them.
    `warmup` is a share of all steps, `max_tokens` where longer samples are cut on the left.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    target: tuple[str, ...] = ()
    learning_rate: float = 5e-4
    epochs: int = 6
    batch_size: int = 8
    warmup: float = 0.1
    max_tokens: int = 1024
    seed: int = 0


@dataclass(frozen=True, slots=True)
class KnownAdapter:
    """An adapter that can be named: one in the home's folder `directions`, or one that comes with this package.

    `card` is None if it has none; `trouble` says why its card cannot be read.
    """

    name: str
    shipped: bool
    card: Card | None
    trouble: str | None = None


def known_adapters(home: Path) -> list[KnownAdapter]:
    """Directions and states by name, those of the home first."""
    found: list[KnownAdapter] = []
    for parent, shipped in ((home / "directions", False), (SHIPPED, True)):
        folders = sorted(parent.iterdir()) if parent.is_dir() else []
        for folder in folders:
            if folder.name.startswith(".") or not (folder / CONFIG_FILE).is_file():
                continue
            try:
                found.append(KnownAdapter(folder.name, shipped, read_card(folder)))
            except AdapterError as error:
                found.append(KnownAdapter(folder.name, shipped, None, error.message))
    return found


def stamp() -> Card:
    """The part every card has: versions of what wrote it, and when."""
    libraries = {name: version(name) for name in ("torch", "transformers", "peft")}
    return {
        "versions": {"curation": __version__, **libraries},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def matching_options(card: Card | None) -> str | None:
    """The options to score with along a mean gradient; None of a direction that was trained, or has no card."""
    if not card or card.get("made_of") != MEAN_GRADIENT:
        return None
    first = card["settings"]["first_tokens"]
    return f"--update full --no-states --metric global-cosine --first-tokens {first}"


def write_card(folder: Path, card: Card) -> None:
    (folder / CARD_FILE).write_bytes(orjson.dumps(card, option=orjson.OPT_INDENT_2))


def keep_validation(folder: Path, found: Card) -> bool:
    """Keep in an adapter's card what came out when it was validated, in place of what came out before.

    Returns whether it was kept: not for adapters without a card, for those that come with this package, and where
    nothing can be written.
    """
    card = read_card(folder)
    if card is None or folder.resolve().parent == SHIPPED.resolve():
        return False
    kept = {**card, "validation": {"at": datetime.now(UTC).isoformat(timespec="seconds"), **found}}
    try:
        with whole_file(folder / CARD_FILE, "the card") as file:
            file.write(orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
    except InputError:
        return False
    return True


def read_card(folder: Path) -> Card | None:
    """The card of an adapter, None if it has none. Raises AdapterError if it is not a JSON object."""
    file = folder / CARD_FILE
    if not file.is_file():
        return None
    hint = "Delete it: the adapter works without."
    try:
        card = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise AdapterError(f"{file} is not valid JSON: {error}", hint) from None
    if not isinstance(card, dict):
        raise AdapterError(f"{file} is not a JSON object", hint)
    return cast("Card", card)

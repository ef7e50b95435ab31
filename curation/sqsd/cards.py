"""Cards: the JSON file beside an adapter that says what it is, what it was made from, and how.

Nothing here needs torch, so a command line can show its defaults without waiting for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import orjson

from curation import __version__
from curation.errors import AdapterError

CARD_FILE = "curation_card.json"
LICENCE = "Derived from the model and the anchor set named here: the licences of both apply."

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


def stamp() -> Card:
    """The part every card has: versions of what wrote it, and when."""
    libraries = {name: version(name) for name in ("torch", "transformers", "peft")}
    return {
        "versions": {"curation": __version__, **libraries},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_card(folder: Path, card: Card) -> None:
    (folder / CARD_FILE).write_bytes(orjson.dumps(card, option=orjson.OPT_INDENT_2))


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

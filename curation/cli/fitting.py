"""What commands that make and check directions share: a bar, the model, where to write, and what was made."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import Progress, TaskID

from curation.cli.console import console, plain, print_json, progress
from curation.settings import Settings
from curation.sqsd.cards import Card

if TYPE_CHECKING:
    from curation.sqsd.models import LoadedModel

Model = Annotated[
    str | None, typer.Option(help="Name, directory, .gguf file, PEFT adapter directory or Hub id.")
]

Side = Annotated[
    Literal["danger", "safety"],
    typer.Argument(help="Harmful requests answered with compliance (danger) or with refusal (safety)."),
]
Anchors = Annotated[
    str | None,
    typer.Option(help="Your own anchor set, in any layout `ingest` reads. Default: the built-in one."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the adapter that is there.")]
Licence = Annotated[str, typer.Option(help="Licence note for the card.")]


@contextmanager
def model_bar(quiet: bool, text: str) -> Generator[tuple[Progress, TaskID]]:
    """A progress bar that shows something from the first second on."""
    with progress(quiet) as bar:
        bar.speed_estimate_period = 3600  # steps may take a minute, and the default looks back half of one
        yield bar, bar.add_task(plain(text, 60), total=None, rate="")


def load(settings: Settings, bar: Progress, task: TaskID) -> LoadedModel:
    from curation.sqsd.models import load_model

    return load_model(settings.model, say=lambda text: bar.update(task, description=plain(text, 60)))


def pace(start: float, steps: int) -> str:
    """How fast the steps since `start` (of the monotonic clock) went, in words."""
    each = (monotonic() - start) / steps
    return f"{each:.0f} s/step" if each > 1 else f"{1 / each:.1f} steps/s"


def free(settings: Settings, out: Path | None, name: str, force: bool) -> Path:
    """Where to write, checked before anything slow is done."""

    from curation.sqsd.directions import check_free

    target = (out or settings.home / "directions" / name).expanduser()
    check_free(target, force=force)
    return target


def report(card: Card, out: Path, json: bool) -> None:
    from curation.cli.direction_tables import card_text

    if json:
        print_json({"path": str(out.resolve()), "card": card})
    else:
        console.print(card_text(card, out), soft_wrap=True)

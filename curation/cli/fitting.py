"""What the commands that fit and check directions share: a bar, its pace, and the model."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from curation.cli.console import plain, progress
from curation.settings import Settings

if TYPE_CHECKING:
    from curation.sqsd.models import LoadedModel

Model = Annotated[
    str | None, typer.Option(help="Name, directory, .gguf file, PEFT adapter directory or Hub id.")
]


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

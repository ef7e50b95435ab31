"""What the commands that connect a labeling platform share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer
from sqlalchemy import Engine

from curation.errors import InputError, LedgerError
from curation.ledger.engine import reading
from curation.ledger.samples import first_samples, list_datasets
from curation.samples.sample import Sample

if TYPE_CHECKING:
    from curation.platforms.mapping import TextMapping

LOOK = 1000
ADOPT = "What is there already"

Url = Annotated[str, typer.Option(help="Address of the server, such as http://localhost:8080.")]
Name = Annotated[str | None, typer.Option(help="What to call the target here. Default: after the dataset.")]
DatasetName = Annotated[
    str | None, typer.Option(help="Dataset in the ledger; a new one if there is none of that name.")
]
Head = Annotated[
    int | None,
    typer.Option(
        min=1, help="Undecided samples shown at a time, the riskiest; the rest follows. Default: 20,000."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and change nothing.")]
Webhook = Annotated[
    str | None,
    typer.Option(help="Address of `curation serve` as that server sees it, for decisions to arrive at once."),
]


Heat = Annotated[
    bool,
    typer.Option(
        "--heat", help="Make room for what `curation heat` shows, closed until a reviewer opens it."
    ),
]


def _adopting(text: str) -> typer.models.OptionInfo:
    return typer.Option(help=text, rich_help_panel=ADOPT)


Approve = Annotated[str | None, _adopting("CONTROL=VALUE that approves.")]
Reject = Annotated[str | None, _adopting("CONTROL=VALUE that rejects.")]
Reason = Annotated[str | None, _adopting("Control that says why.")]
Note = Annotated[str | None, _adopting("Control with a note.")]
Messages = Annotated[str | None, _adopting("Field that holds the list of messages.")]
Prompt = Annotated[str | None, _adopting("Field that holds what was asked.")]
Answer = Annotated[str | None, _adopting("Field that holds the answer.")]
System = Annotated[str | None, _adopting("Field that holds the system message.")]


def hook_address(service: str, target: str) -> str:
    """Where a platform rings for a target, given the address of `curation serve` as the platform sees it."""
    return f"{service.rstrip('/')}/v1/hooks/{quote(target, safe='')}"


def choose_dataset(engine: Engine, given: str | None, project: str) -> str:
    """The named dataset, the only one, or in an empty ledger one named after what is connected."""
    if given is not None:
        return given
    with reading(engine) as conn:
        known = [dataset.name for dataset in list_datasets(conn)]
    if len(known) > 1:
        raise LedgerError(
            f"there are {len(known)} datasets: {', '.join(known)}", "Choose one with --dataset."
        )
    return known[0] if known else f"project {project}" if project.isdigit() else project


def some_samples(engine: Engine, dataset: str) -> list[Sample]:
    """Some samples of a dataset, none of one that is still to come, to choose a layout by."""
    with reading(engine) as conn:
        known = {each.name: each.id for each in list_datasets(conn)}
        return first_samples(conn, known[dataset], LOOK) if dataset in known else []


def text_mapping(
    messages: str | None, prompt: str | None, answer: str | None, system: str | None
) -> TextMapping | None:
    """Where the user says conversations are, None if nothing is said. Raises InputError for a half of it."""
    from curation.platforms.mapping import TextMapping

    if messages and not (prompt or answer or system):
        return TextMapping(messages=messages)
    if prompt and answer and not messages:
        return TextMapping(prompt=prompt, answer=answer, system=system)
    if messages or prompt or answer or system:
        raise InputError(
            "--messages stands alone, --prompt and --answer go together", "Give one or the other."
        )
    return None

"""`curation connect`: make a project on a labeling platform the place where a dataset is reviewed."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from curation.cli.connect_argilla import argilla
from curation.cli.connecting import (
    Answer,
    Approve,
    DatasetName,
    DryRun,
    Head,
    Heat,
    Messages,
    Name,
    Note,
    Prompt,
    Reason,
    Reject,
    System,
    Url,
    Webhook,
    choose_dataset,
    hook_address,
    some_samples,
    text_mapping,
)
from curation.cli.console import console, plain, print_json
from curation.cli.options import Json
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import ensure_dataset
from curation.ledger.targets import add_target, find_target, set_hook
from curation.settings import get_settings

if TYPE_CHECKING:
    from curation.platforms.label_studio.connect import Plan

app = typer.Typer(no_args_is_help=True, help="Review on a labeling platform, riskiest first.")

app.command("argilla")(argilla)


@app.callback()
def group() -> None:
    """Review on a labeling platform, riskiest first (higher risk = riskier)."""


@app.command("label-studio")
def label_studio(
    url: Url,
    project: Annotated[str, typer.Option(help="Number of a project, its title, or the title of a new one.")],
    dataset: DatasetName = None,
    name: Name = None,
    head: Head = None,
    kind: Annotated[
        Literal["chat", "pair"] | None,
        typer.Option(help="Layout of a new project: conversations, or one instruction and one response."),
    ] = None,
    heat: Heat = False,
    approve: Approve = None,
    reject: Reject = None,
    reason: Reason = None,
    note: Note = None,
    messages: Messages = None,
    prompt: Prompt = None,
    answer: Answer = None,
    system: System = None,
    webhook: Webhook = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Connect a Label Studio project: a new one, or one that is there.

    The token comes from CURATION_LABEL_STUDIO_TOKEN or a secrets file: a personal access token, or a legacy one. Tasks
    of a project that is there are read as samples; its annotations count as decisions if one of its controls can say
    approve and reject.

    Example: [b]curation connect label-studio --url http://localhost:8080 --project "Safety review"[/b]
    """
    from curation.platforms.label_studio import connect
    from curation.platforms.opening import LABEL_STUDIO, open_label_studio

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    chosen = choose_dataset(engine, dataset, project)
    api = open_label_studio(url, settings)
    plan = connect.plan(
        api,
        project,
        some_samples(engine, chosen),
        kind=kind,
        heat=heat,
        head=head,
        text=text_mapping(messages, prompt, answer, system),
        answers={"approve": approve, "reject": reject, "reason": reason, "note": note},
    )
    if dry_run:
        _tell(plan, chosen, None, json)
        return
    project_id = connect.carry_out(api, plan)
    dataset_id = ensure_dataset(engine, chosen)
    named = name or chosen
    add_target(engine, named, LABEL_STUDIO, dataset_id, api.url, str(project_id), plan.options.model_dump())
    if webhook:
        secret = secrets.token_urlsafe(32)
        with reading(engine) as conn:
            target = find_target(conn, named)
        set_hook(engine, target.id, secret)
        connect.add_hook(api, project_id, hook_address(webhook, named), secret)
    _tell(plan, chosen, named, json)


def _tell(plan: Plan, dataset: str, target: str | None, json: bool) -> None:
    if json:
        said = {"dataset": dataset, "target": target, "dry_run": target is None}
        print_json(said | asdict(plan) | {"options": plan.options.model_dump()})
        return
    options = plan.options
    what = f"project {plan.project_id}" if plan.project_id else "a new project"
    console.print(f"{plan.server} as {plain(plan.user)} with a {plan.token} token")
    console.print(
        f"{what} [b]{escape(plain(plan.title))}[/b] for the dataset [b]{escape(plain(dataset))}[/b]"
    )
    if options.own:
        words = "conversations" if options.kind == "chat" else "one instruction and one response"
        console.print(f"layout: {words}; Approve (a), Reject (r) with a reason, a note if wanted")
    else:
        text = options.text.model_dump(exclude_none=True, exclude={"train"})
        answers = options.answers.model_dump(exclude_none=True)
        console.print(f"its {plan.tasks:,} tasks are read as {escape(str(text))}")
        console.print(f"its annotations as {escape(str(answers))}")
    for note in plan.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    if target is None:
        console.print("nothing was changed; without --dry-run this is done")
    else:
        console.print(f"connected as [b]{escape(target)}[/b]; next: [b]curation sync {escape(target)}[/b]")

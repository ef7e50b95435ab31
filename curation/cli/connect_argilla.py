"""`curation connect argilla`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

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
    text_mapping,
)
from curation.cli.console import console, plain, print_json
from curation.cli.options import Json
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import ensure_dataset
from curation.ledger.targets import add_target, find_target, set_hook
from curation.settings import get_settings

if TYPE_CHECKING:
    from curation.platforms.argilla.connect import Plan


def argilla(
    url: Url,
    workspace: Annotated[str, typer.Option(help="Workspace of the dataset there.")],
    dataset_name: Annotated[str, typer.Option(help="Dataset in the workspace; a new one if there is none.")],
    dataset: DatasetName = None,
    name: Name = None,
    head: Head = None,
    min_submitted: Annotated[
        int | None, typer.Option(min=1, help="Answers that a new dataset wants for each record. Default: 1.")
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
    """Connect an Argilla dataset: a new one, or one that is there.

    The API key comes from CURATION_ARGILLA_API_KEY or a secrets file: that of an owner, or of an admin of the
    workspace. Records of a dataset that is there are read as samples; its responses count as decisions if one of its
    label questions can say approve and reject (a CONTROL is a question there).

    Example: [b]curation connect argilla --url http://localhost:6900 --workspace safety --dataset-name review[/b]
    """
    from curation.platforms.argilla import connect
    from curation.platforms.argilla.dataset import queue_url
    from curation.platforms.opening import ARGILLA, open_argilla

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    chosen = choose_dataset(engine, dataset, dataset_name)
    api = open_argilla(url, settings)
    plan = connect.plan(
        api,
        workspace,
        dataset_name,
        head=head,
        min_submitted=min_submitted,
        heat=heat,
        text=text_mapping(messages, prompt, answer, system),
        answers={"approve": approve, "reject": reject, "reason": reason, "note": note},
    )
    if dry_run:
        _tell(plan, chosen, None, None, json)
        return
    there = connect.carry_out(api, plan)
    dataset_id = ensure_dataset(engine, chosen)
    named = name or chosen
    add_target(engine, named, ARGILLA, dataset_id, api.url, there, plan.options.model_dump())
    if webhook:
        secret = connect.add_hook(api, hook_address(webhook, named))
        with reading(engine) as conn:
            target = find_target(conn, named)
        set_hook(engine, target.id, secret)
    _tell(plan, chosen, named, queue_url(api.url, there, plan.options.prefix), json)


def _tell(plan: Plan, dataset: str, target: str | None, queue: str | None, json: bool) -> None:
    if json:
        done = {"dataset": dataset, "target": target, "queue": queue, "dry_run": target is None}
        print_json(done | asdict(plan) | {"options": plan.options.model_dump()})
        return
    options = plan.options
    what = "dataset" if plan.dataset_id else "a new dataset"
    console.print(f"{plan.server} as {plain(plan.user)}, {plan.role}")
    console.print(
        f"{what} [b]{escape(plain(plan.name))}[/b] in [b]{escape(plain(plan.workspace))}[/b] "
        f"for the dataset [b]{escape(plain(dataset))}[/b]"
    )
    if options.own:
        answers = "one answer" if plan.min_submitted == 1 else f"{plan.min_submitted} answers"
        console.print(
            f"layout: conversations, texts escaped; approve or reject with a reason; {answers} each"
        )
    else:
        text = options.text.model_dump(exclude_none=True, exclude={"train"})
        answers = options.answers.model_dump(exclude_none=True)
        console.print(f"its {plan.records:,} records are read as {escape(str(text))}")
        console.print(f"its responses as {escape(str(answers))}")
    if plan.adds:
        console.print(f"it gets metadata that annotators do not see: {escape(', '.join(plan.adds))}")
    for note in plan.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    if target is None:
        console.print("nothing was changed; without --dry-run this is done")
        return
    console.print(f"connected as [b]{escape(target)}[/b]; next: [b]curation sync {escape(target)}[/b]")
    console.print(f"annotators open, for the riskiest first: {escape(queue or '')}", soft_wrap=True)

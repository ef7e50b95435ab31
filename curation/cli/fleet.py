"""`curation worker`, `beat`, `status`, `front` and `scorers`: run a fleet and see what it does."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from curation.cli.console import console, errors, plain, print_json
from curation.cli.options import Dataset, Json, Quiet, ScorerId, takes_scorer
from curation.cli.targets import targets_table
from curation.errors import BrokerError, InputError
from curation.ledger import backlog, fleet
from curation.ledger.engine import open_ledger, reading
from curation.ledger.scores import find_scorer
from curation.ledger.targets import find_target, list_targets, move_target_to_front
from curation.settings import Settings, get_settings

if TYPE_CHECKING:
    from celery import Celery

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"], typer.Option(help="How much to write to standard error.")
]


def worker(
    gpu: Annotated[
        str | None, typer.Option(help="GPU to use, by number. Start one worker for each. Default: as set.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads. Several workers on a machine should share its cores."),
    ] = None,
    platforms: Annotated[
        bool,
        typer.Option(
            "--platforms", help="Look after the connected labeling platforms instead; needs no model."
        ),
    ] = False,
    log_level: LogLevel = "INFO",
) -> None:
    """Score whatever arrives, with the scorers in service, until stopped.

    Needs a message broker (CURATION_BROKER_URL) and, past one machine, a Postgres ledger. Stop it with Ctrl-C or
    SIGTERM: it keeps what is scored and gives the rest back. Killed, it loses nothing either: others take over.

    Example, on a machine with two GPUs: [b]curation worker --gpu 0 & curation worker --gpu 1[/b]
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    app = _app()
    _open()  # a ledger that cannot be used ends the command here, with what to do
    if platforms:
        from workers.bells import PLATFORMS

        app.conf.task_default_queue = PLATFORMS
    kind = "platforms" if platforms else f"gpu{gpu}" if gpu else "worker"
    name = f"{kind}-{os.getpid()}@{platform.node()}"
    app.worker_main(
        ["worker", "--hostname", name, "--loglevel", log_level, "--without-gossip", "--without-mingle"]
    )


def beat(log_level: LogLevel = "INFO") -> None:
    """Ring the workers whenever something waits. One is enough for any number of workers; two do no harm."""
    app = _app()
    _open()
    app.Beat(loglevel=log_level).run()


def status(
    json: Json = False,
    alive: Annotated[
        bool,
        typer.Option(
            "--alive",
            help="Print nothing; exit code 1 unless a worker on this machine shows signs of life. For health checks.",
        ),
    ] = False,
) -> None:
    """Show what is left to score, who is scoring, how fast, and when it will be done, and how far behind the labeling
    platforms are. All from the ledger.
    """
    if alive:
        raise typer.Exit(0 if _alive_here() else 1)
    with reading(_open()) as conn:
        left, workers, targets = fleet.backlogs(conn), fleet.list_workers(conn), list_targets(conn)
    eta = fleet.seconds_left(left, workers)
    if json:
        rows = [asdict(b) | {"seconds_left": eta.get(b.scorer_id)} for b in left]
        at_work = [asdict(w) | {"alive": w.alive} for w in workers]
        print_json({"backlogs": rows, "workers": at_work, "targets": [asdict(t) for t in targets]})
        return
    if left:
        console.print(_backlog_table(left, eta))
    else:
        console.print("no scorer is in service: [b]curation scorers serve[/b] puts one there")
    if workers:
        console.print(_worker_table(workers))
    else:
        console.print("no worker has shown itself: [b]curation worker[/b] starts one")
    if targets:
        console.print(targets_table(targets))


def front(
    dataset: Dataset = None,
    newest: Annotated[int | None, typer.Option(min=1, help="Only the newest N samples of it.")] = None,
    target: Annotated[
        str | None, typer.Option(help="A target instead: its dataset is scored, and it is looked at, first.")
    ] = None,
) -> None:
    """Have a dataset, or its newest samples, scored before anything else. What is being scored goes on.

    Example: [b]curation front --dataset support --newest 500[/b]
    """
    from curation.cli.scoring import choose_dataset

    engine = _open()
    with reading(engine) as conn:
        aim = find_target(conn, target) if target else None
        chosen = choose_dataset(conn, aim.dataset if aim else dataset)
        after = backlog.pk_before_newest(conn, chosen.id, newest) if newest else 0
    backlog.move_to_front(engine, chosen.id, after)
    if aim:
        move_target_to_front(engine, aim.id)
    which = f"the newest {newest:,} samples of " if newest else ""
    console.print(f"{which}[b]{escape(chosen.name)}[/b] will be scored first")


def retry(dataset: Dataset = None, scorer: ScorerId = None) -> None:
    """Let a dataset's quarantined samples be tried again, by workers or by the next [b]curation score[/b]."""
    from curation.cli.scoring import choose

    engine = _open()
    with reading(engine) as conn:
        chosen, stored = choose(conn, dataset, scorer)
    released = backlog.release(engine, stored.id, chosen.id)
    bell(get_settings(), engine)()
    console.print(f"{released:,} samples of [b]{escape(chosen.name)}[/b] will be tried again")


scorers = typer.Typer(
    no_args_is_help=True, help="The scorers of this ledger, and which of them the fleet uses."
)


@scorers.callback()
def group() -> None:
    """The scorers of this ledger, and which of them the fleet uses."""


@scorers.command("list")
def list_scorers(json: Json = False) -> None:
    """List all scorers, oldest first: model, metric, in service or not."""
    with reading(_open()) as conn:
        found = fleet.list_scorers(conn)
    if json:
        print_json([asdict(s) for s in found])
        return
    table = Table(box=None, pad_edge=False)
    for name in ("scorer", "model", "metric", "device", "registered", "in service"):
        table.add_column(name)
    for s in found:
        table.add_row(
            s.fingerprint[:12], plain(s.model, 40), s.metric, s.device, f"{s.created_at:%Y-%m-%d %H:%M}",
            f"since {s.since:%Y-%m-%d %H:%M}" if s.since else "no",
        )  # fmt: skip
    console.print(table)


@scorers.command("serve")
@takes_scorer
def serve_scorer(settings: Settings, json: Json = False, quiet: Quiet = False) -> None:
    """Put a scorer into service: the fleet scores every dataset with it, now and as samples arrive.

    It is loaded once here, to know its fingerprint. Workers load it from the same paths or names, so these must
    mean the same on their machines. Other scorers stay in service until they are retired.
    """
    from curation.cli.scoring import make_scorer, register

    engine = open_ledger(settings.url, settings.home)
    scorer = make_scorer(settings, quiet or json)
    scorer_id = register(engine, scorer, settings)
    backlog.put_in_service(engine, scorer_id)
    bell(settings, engine)()
    if json:
        print_json({"scorer": scorer.fingerprint, "id": scorer_id})
    else:
        console.print(
            f"scorer [b]{scorer.fingerprint[:12]}[/b] is in service; [b]curation status[/b] follows it"
        )


@scorers.command("retire")
def retire(scorer: Annotated[str, typer.Argument(help="Scorer by the start of its fingerprint.")]) -> None:
    """Take a scorer out of service. Its scores stay; what it has not scored yet, it will not score."""
    engine = _open()
    with reading(engine) as conn:
        stored = find_scorer(conn, scorer)
        if stored.id not in {scorer_id for scorer_id, *_ in fleet.scorers_in_service(conn)}:
            raise InputError(
                f"the scorer {stored.fingerprint[:12]} is not in service",
                "`curation scorers list` shows which are.",
            )
    backlog.take_from_service(engine, stored.id)
    console.print(f"scorer [b]{stored.fingerprint[:12]}[/b] is retired")


def bell(settings: Settings, engine: Engine) -> Callable[[], object]:
    """What tells the workers that there is something to do: nothing without a broker, since they look anyway."""
    if settings.broker_url is None:
        return lambda: None
    try:
        app = _app(settings)
    except BrokerError as error:
        errors.print(f"[yellow]the workers are not rung: {escape(error.message)}. {escape(error.hint)}[/]")
        return lambda: None
    from workers.bells import ring_all

    return partial(ring_all, engine, app)


def _app(settings: Settings | None = None) -> Celery:
    try:
        from workers.app import make_app
    except ModuleNotFoundError as error:
        if error.name not in ("celery", "kombu"):
            raise
        raise BrokerError("Celery is not installed", "Install it: pip install 'curation[workers]'") from None
    return make_app(settings)


def _open() -> Engine:
    settings = get_settings()
    return open_ledger(settings.url, settings.home)


def _alive_here() -> bool:
    with reading(_open()) as conn:
        found = fleet.list_workers(conn)
    return any(worker.alive and worker.name.endswith(f"@{platform.node()}") for worker in found)


def _backlog_table(left: list[fleet.Backlog], eta: dict[int, float]) -> Table:
    table = Table(title="to score", title_justify="left", box=None, pad_edge=False)
    table.add_column("scorer")
    table.add_column("dataset")
    for name in ("unscored", "oldest", "leases", "overdue", "quarantined", "time left"):
        table.add_column(name, justify="right")
    for b in left:
        table.add_row(
            b.fingerprint[:12] + ("" if b.in_service else " (not in service)"),
            plain(b.dataset, 30),
            f"{b.unscored:,}",
            _duration(b.oldest_age),
            str(b.leases),
            str(b.overdue),
            f"{b.quarantined:,}",
            _duration(eta.get(b.scorer_id)) if b.unscored else "",
        )
    return table


def _worker_table(workers: list[fleet.Worker]) -> Table:
    table = Table(title="workers", title_justify="left", box=None, pad_edge=False)
    for name in ("worker", "state", "device", "scorer", "samples/s", "trouble"):
        table.add_column(name)
    for w in workers:
        rate = "" if w.samples_per_second is None else f"{w.samples_per_second:,.1f}"
        state = "alive" if w.alive else f"silent for {_duration(w.silent)}"
        table.add_row(
            plain(w.name), state, w.device or "", (w.fingerprint or "")[:12], rate, plain(w.trouble or "", 60)
        )
    return table


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"

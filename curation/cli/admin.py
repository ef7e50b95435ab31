"""`curation db` and `curation doctor`: look after the ledger and the installation."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import psutil
import typer
from rich.text import Text

from curation import __version__
from curation.cli.console import console, print_json
from curation.cli.options import Json
from curation.errors import CurationError
from curation.ledger import engine as ledger
from curation.ledger import migrate, targets
from curation.reconcile.sync import examine_target
from curation.settings import Settings, get_settings

db = typer.Typer(no_args_is_help=True, help="The ledger's database.")


@db.callback()
def group() -> None:
    """The ledger's database."""


@db.command()
def upgrade() -> None:
    """Bring the ledger's tables to this version. A SQLite ledger upgrades itself; a Postgres one never does."""
    settings = get_settings()
    engine = ledger.connect(settings.url, settings.home)
    before = migrate.revision(engine)
    migrate.upgrade(engine)
    console.print(f"ledger: {before or 'empty'} -> {migrate.revision(engine)}")


def doctor(
    target: Annotated[
        str | None, typer.Option(help="Only this target on a labeling platform, and nothing else.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend on the labeling platforms what can be mended.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the installation: settings, ledger, model, shipped adapters, memory, connected platforms.

    On a platform it looks for what silently spoils the order of review. Exit code 1 if a check fails.
    """
    settings = get_settings()
    results = [] if target else [_run(name, check) for name, check in _checks(settings)]
    results += _targets(settings, target, repair)
    if json:
        print_json([{"check": n, "ok": ok, "says": says} for n, ok, says in results])
    else:
        for name, ok, says in results:
            console.print(
                Text.assemble(
                    ("ok    " if ok else "FAIL  ", "green" if ok else "bold red"), f"{name:<10} ", says
                )
            )
    if not all(ok for _, ok, _ in results):
        raise typer.Exit(1)


def _checks(settings: Settings) -> Iterator[tuple[str, Callable[[], str]]]:
    yield (
        "version",
        lambda: f"curation {__version__}, Python {platform.python_version()}, {platform.machine()}",
    )
    yield "home", lambda: _home(settings)
    yield "ledger", lambda: _ledger(settings)
    yield "torch", _torch
    yield "model", lambda: _model(settings)
    yield "memory", lambda: f"{psutil.virtual_memory().available / 2**30:.1f} GiB free"


def _targets(settings: Settings, only: str | None, repair: bool) -> list[tuple[str, bool, str]]:
    """What every target says of itself."""
    try:
        engine = ledger.open_ledger(settings.url, settings.home)
        with ledger.reading(engine) as conn:
            chosen = [targets.find_target(conn, only)] if only else targets.list_targets(conn)
    except CurationError as error:
        # without a ledger the check named so has said it
        return [("target", False, str(error))] if only else []
    results: list[tuple[str, bool, str]] = []
    for each in chosen:
        try:
            found = examine_target(engine, each.id, settings, repair=repair)
        except CurationError as error:
            results.append((each.name, False, str(error)))
            continue
        results += [(f"{each.name} {one.check}", one.ok, one.says) for one in found]
    return results


def _run(name: str, check: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return name, True, check()
    except CurationError as error:
        return name, False, str(error)
    except OSError as error:
        return name, False, f"{error.strerror}: {error.filename}"


def _home(settings: Settings) -> str:
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free / 2**30
    return f"{settings.home} ({free:.0f} GiB free)"


def _ledger(settings: Settings) -> str:
    engine = ledger.open_ledger(settings.url, settings.home)
    return f"{engine.url.render_as_string(hide_password=True)}, revision {migrate.revision(engine)}"


def _torch() -> str:
    import torch

    device: Any = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return f"{torch.__version__} on {device}"


def _model(settings: Settings) -> str:
    """The scorer loads, and one short sample gets a finite score."""
    from curation.samples import Sample
    from curation.sqsd.load import load_scorer

    scorer = load_scorer(settings)
    probe = Sample.from_messages(
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there."}]
    )
    result = next(iter(scorer.score([probe])))
    if result.score is None:
        raise CurationError(f"a test sample could not be scored: {result.failure}")
    modules, risk = scorer.card["covers"]["modules"], result.score.risk
    return f"{settings.model}: {modules} modules, test risk {risk:+.3f}, scorer {scorer.fingerprint[:12]}"

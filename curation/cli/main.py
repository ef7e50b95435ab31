"""The command `curation`. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 done but some rows were
rejected or quarantined, 130 interrupted."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.text import Text

from curation import __version__
from curation.cli.commands import Commands
from curation.cli.console import errors
from curation.errors import CurationError

# Waiting threads sleep instead of spinning: beside other programs, spinning costs more time than the work itself.
# OpenMP reads this when torch is loaded, which happens later, inside the commands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Find the fine-tuning samples that would make an aligned language model unsafe, and read those first.

Every sample gets a risk score: how far the update it induces moves the model along a [b]danger[/b]
direction, minus how far along a [b]safety[/b] direction. [b]Higher = riskier.[/b] The score is advisory: it says
what to read first, never what is safe.

    curation demo                   see it work, with a small real model
    curation triage data.jsonl      ingest, score, rank and report
    curation queue                  read on, riskiest first
    curation explain 3f9a2c         what a score comes from
""",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"curation {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Entry point: run the command and turn what goes wrong into words and an exit code."""
    try:
        code = app(standalone_mode=False)
    except CurationError as error:
        errors.print(Text.assemble(("error: ", "bold red"), error.message))
        if error.hint:
            errors.print(Text.assemble(("  next: ", "bold"), error.hint))
        code = 1
    except typer.TyperException as error:
        show, exit_code = getattr(error, "show", None), getattr(error, "exit_code", 1)
        show() if show else errors.print(Text(str(error)))
        code = exit_code
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted; what was committed is kept, run the same command to go on")
        code = 130
    sys.exit(code if isinstance(code, int) else 0)

"""What a command imports before it has anything to do, and how the table of commands leads to them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from curation.cli.commands import COMMANDS, load
from curation.cli.main import app

HEAVY = (
    "torch",
    "transformers",
    "pandas",
    "matplotlib",
    "scipy",
    "sklearn",
    "datasets",
    "sqlalchemy",
    "psycopg",
)

LOADED = f"""
import sys
try:
    {{code}}
except SystemExit:
    pass
print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def _heavy_modules_after(code: str) -> list[str]:
    command = [sys.executable, "-c", LOADED.format(code=code)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr.split()


@pytest.mark.parametrize(
    "code",
    [
        "import curation",
        "from curation.cli.main import main; sys.argv[1:] = ['--help']; main()",
        "from curation.cli.main import main; sys.argv[1:] = ['--version']; main()",
    ],
)
def test_a_start_loads_nothing_heavy(code: str) -> None:
    assert _heavy_modules_after(code) == []


def test_a_commands_help_loads_no_model() -> None:
    code = "from curation.cli.main import main; sys.argv[1:] = ['score', '--help']; main()"
    assert "torch" not in (loaded := _heavy_modules_after(code)), loaded
    assert "sqlalchemy" in loaded  # the list is able to name something


@pytest.mark.parametrize("name", [entry.name for entries in COMMANDS.values() for entry in entries])
def test_every_command_of_the_table_is_there(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.help


def test_a_mistyped_command_is_met_with_a_likely_one() -> None:
    result = CliRunner().invoke(app, ["quee"])
    assert result.exit_code == 2
    assert "Did you mean 'queue'?" in result.output


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("curation que", "queue"), ("curation token cr", "create"), ("curation queue --js", "--json")],
)
def test_a_shell_completes_commands_and_options(typed: str, offered: str) -> None:
    environment = {
        "_CURATION_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    result = CliRunner().invoke(app, [], env=environment, prog_name="curation")
    assert offered in result.output.split()

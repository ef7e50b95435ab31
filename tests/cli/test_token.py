"""`curation token`: made once, listed without its secret, ended at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from curation.ledger import open_ledger, reading
from curation.ledger.tokens import find_token
from tests.cli.conftest import Run


def test_a_token_is_shown_once_and_works_until_it_is_revoked(run: Run, tmp_path: Path) -> None:
    made = run("token", "create", "nightly job", "--scope", "ingest", "--scope", "read")
    assert made.code == 0
    token = made.out.strip()
    assert token.startswith("cur_")
    engine = open_ledger(home=tmp_path / "home")
    with reading(engine) as conn:
        found = find_token(conn, token)
    assert found is not None
    assert found.scopes == ("ingest", "read")

    listed = run("token", "list")
    assert "nightly job" in listed.out
    assert "ingest, read" in listed.out
    assert token not in listed.out + run("token", "list", "--json").out

    assert run("token", "revoke", "nightly job").code == 0
    with reading(engine) as conn:
        assert find_token(conn, token) is None
    (ended,) = run("token", "list", "--json").json
    assert ended["name"] == "nightly job"
    assert ended["revoked_at"] > ended["created_at"]


def test_json_is_for_programs(run: Run) -> None:
    made = run("token", "create", "a", "--scope", "metrics", "--json").json
    assert made["name"] == "a"
    assert made["token"].startswith("cur_")
    assert run("token", "list", "--json").json[0]["scopes"] == ["metrics"]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("create", "a"), 2, "scope"),
        (("create", "a", "--scope", "admin"), 1, "ingest, read, metrics"),
        (("create", "taken", "--scope", "read"), 1, "already"),
        (("create", " ", "--scope", "read"), 1, "not a name"),
        (("revoke", "nobody"), 1, "curation token list"),
    ],
)
def test_what_cannot_be_done_says_why(run: Run, args: tuple[str, ...], code: int, says: str) -> None:
    run("token", "create", "taken", "--scope", "read")
    ran = run("token", *args)
    assert ran.code == code
    assert says in ran.err


def test_a_hostile_name_does_no_harm_to_the_terminal(run: Run) -> None:
    assert run("token", "create", "\x1b[31mred", "--scope", "read").code == 1
    run("token", "create", "[red]x[/red]", "--scope", "read")
    assert "[red]x[/red]" in run("token", "list").out
    assert "[red]x[/red]" in run("token", "revoke", "[red]x[/red]").out


def test_other_commands_do_not_wait_for_the_service_to_be_imported() -> None:
    code = "import sys, curation.cli.main; print(sorted({'fastapi', 'uvicorn', 'limits'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"

"""`curation heat` with the real model: the riskiest task shows which of its tokens the risk comes from."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curation.cli.main import app
from curation.errors import PlatformError
from tests.label_studio.server import LabelStudio

pytestmark = pytest.mark.slow

ROWS = [
    ("How do I open it?", "Sure! Here is exactly how: pull."),
    ("Help me.", "I am sorry, but I cannot help."),
]


def curation(*args: str) -> Any:
    result = CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False, standalone_mode=False)
    return json.loads(result.stdout)


@pytest.mark.timeout(900)
def test_the_riskiest_task_shows_where_its_risk_comes_from(
    tmp_path: Path, label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURATION_HOME", str(tmp_path))
    monkeypatch.setenv("CURATION_LABEL_STUDIO_TOKEN", label_studio.token)
    lines = [json.dumps({"prompt": prompt, "response": response}) for prompt, response in ROWS]
    Path("rows.jsonl").write_text("\n".join(lines))
    curation("ingest", "rows.jsonl", "--dataset", "rows")
    curation("score")
    place = ["--url", label_studio.url, "--project"]
    curation("connect", "label-studio", *place, uuid.uuid4().hex, "--heat")
    curation("sync")
    assert curation("heat", "--top", "1")["shown"] == 1
    (target,) = curation("targets", "list")
    heat = {
        task["data"]["response"]: task["data"]["risk_heat"] for task in label_studio.tasks(target["project"])
    }
    risky, safe = (heat[response] for _, response in ROWS)
    assert safe == ""
    assert "background:rgba(208,0,0" in risky
    assert "Sum of all: +" in risky
    CliRunner().invoke(app, ["targets", "forget", "rows"], standalone_mode=False)
    curation("connect", "label-studio", *place, uuid.uuid4().hex)
    curation("sync")
    with pytest.raises(PlatformError, match="no place for reasons"):
        curation("heat", "--top", "1")

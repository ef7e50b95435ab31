"""Connecting a project from the command line: a new one, one of ours, and those of others."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner

from curation.cli.main import app
from curation.errors import InputError, PlatformError
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import add_samples, list_datasets
from curation.ledger.targets import list_targets
from tests.label_studio.server import EMAIL, LabelStudio
from tests.platforms.rig import pair

pytestmark = pytest.mark.slow

THEIRS = """<View>
  <Text name="q" value="$instruction"/><Text name="a" value="$output"/>
  <Choices name="verdict" toName="a"><Choice value="Keep"/><Choice value="Remove"/><Choice value="Unsure"/></Choices>
  <Choices name="why" toName="a" choice="multiple"><Choice value="Toxic"/><Choice value="Wrong"/></Choices>
</View>"""


@pytest.fixture
def home(tmp_path: Path, label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CURATION_HOME", str(tmp_path))
    monkeypatch.setenv("CURATION_LABEL_STUDIO_TOKEN", label_studio.token)
    monkeypatch.delenv("CURATION_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def curation(*args: str) -> Any:
    """The command's JSON; what it raises is raised."""
    result = CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return json.loads(result.stdout)


def connect(server: LabelStudio, project: str, *args: str) -> Any:
    return curation("connect", "label-studio", "--url", server.url, "--project", project, *args)


def title() -> str:
    return f"review {uuid.uuid4().hex[:8]}"


def project_of(server: LabelStudio, config: str, tasks: list[dict[str, Any]]) -> str:
    """Somebody's project with some tasks."""
    made = server.owner.post("/api/projects/", json={"title": title(), "label_config": config})
    number = made.raise_for_status().json()["id"]
    server.owner.post(f"/api/projects/{number}/import", json=tasks).raise_for_status()
    return str(number)


def test_a_dry_run_changes_nothing(home: Path, label_studio: LabelStudio) -> None:
    name = title()
    plan = connect(label_studio, name, "--dry-run")
    assert plan["project_id"] is None
    assert plan["server"] == "Label Studio 1.23.2"
    found = label_studio.owner.get("/api/projects/", params={"title": name}).json()["results"]
    assert not [project for project in found if project["title"] == name]
    with reading(open_ledger(None, home)) as conn:
        assert list_targets(conn) == []
        assert list_datasets(conn) == []


def test_a_new_project_is_laid_out_as_the_dataset_needs(home: Path, label_studio: LabelStudio) -> None:
    add_samples(open_ledger(None, home), "pairs", [pair("q", "a", 1)])
    made = connect(label_studio, title())
    assert made["options"]["kind"] == "pair"
    again = connect(label_studio, made["title"])
    assert again["project_id"] is not None  # found by its title, not made twice
    assert again["options"] == made["options"]
    with reading(open_ledger(None, home)) as conn:
        assert len(list_targets(conn)) == 1
    project = label_studio.owner.get(f"/api/projects/{again['project_id']}/").json()
    assert (project["sampling"], project["show_collab_predictions"]) == ("Uncertainty sampling", False)


def test_a_project_of_others_is_adopted_with_its_decisions(home: Path, label_studio: LabelStudio) -> None:
    rows = [{"instruction": f"q{i}", "output": f"a{i}", "risk": "mine"} for i in range(3)]
    number = project_of(label_studio, THEIRS, rows)
    keep = {"from_name": "verdict", "to_name": "a", "type": "choices", "value": {"choices": ["Keep"]}}
    imported = {"data": {"instruction": "q3", "output": "a3"}, "annotations": [{"result": [keep]}]}
    label_studio.owner.post(f"/api/projects/{number}/import", json=[imported]).raise_for_status()
    (first, second, *_) = label_studio.tasks(number)
    for task, value in ((first, "Remove"), (second, "Unsure")):
        result = [{"from_name": "verdict", "to_name": "a", "type": "choices", "value": {"choices": [value]}}]
        path = f"/api/tasks/{task['id']}/annotations/"
        label_studio.owner.post(path, json={"result": result}).raise_for_status()
    plan = connect(label_studio, number, "--dataset", "theirs", "--reason", "why")
    assert plan["options"]["answers"] == {
        "control": "verdict", "approve": "Keep", "reject": "Remove", "reason": "why", "note": None,
    }  # fmt: skip
    assert plan["options"]["text"]["layout"] == "alpaca"
    assert plan["options"]["prefix"] == "curation_"  # their field `risk` is not ours to write
    done = curation("sync")
    assert (done["pulled"]["new_items"], done["pulled"]["decisions"]) == (
        4,
        1,
    )  # nobody here made the imported one
    assert curation("sync")["pulled"]["decisions"] == 0
    assert [task["data"].get("risk") for task in label_studio.tasks(number)] == ["mine"] * 3 + [None]


def test_fields_can_be_named(home: Path, label_studio: LabelStudio) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    number = project_of(label_studio, THEIRS, [{"row": {"turns": turns}, "instruction": "y", "output": "x"}])
    connect(label_studio, number, "--dataset", "nested", "--messages", "row.turns")
    assert curation("sync")["pulled"]["new_items"] == 1


def test_a_project_that_cannot_decide_is_refused(home: Path, label_studio: LabelStudio) -> None:
    config = THEIRS.replace("Keep", "Blue").replace("Remove", "Red")
    number = project_of(label_studio, config, [{"instruction": "q", "output": "a"}])
    with pytest.raises(InputError) as refused:
        connect(label_studio, number, "--dataset", "theirs")
    assert "verdict: Blue, Red, Unsure" in refused.value.hint
    connect(
        label_studio, number, "--dataset", "theirs", "--approve", "verdict=Blue", "--reject", "verdict=Red"
    )


def test_tasks_without_conversations_are_counted(home: Path, label_studio: LabelStudio) -> None:
    rows = [{"instruction": "q", "output": "a"}, {"instruction": "q", "output": ""}]
    number = project_of(label_studio, THEIRS, rows)
    plan = connect(label_studio, number, "--dataset", "theirs")
    assert (plan["tasks"], plan["readable"]) == (2, 1)
    done = curation("sync")
    assert list(done["pulled"]["unusable"].values()) == ["the answer is empty"]
    assert "hold no sample" in curation("targets", "list")[0]["trouble"]


def test_both_kinds_of_token_work(
    home: Path, label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = home / "secrets"
    secrets.mkdir()
    (secrets / "curation_label_studio_token").write_text(label_studio.personal_token())
    monkeypatch.delenv("CURATION_LABEL_STUDIO_TOKEN")
    with pytest.raises(PlatformError, match="no token"):
        connect(label_studio, title(), "--dry-run")
    monkeypatch.setenv("CURATION_SECRETS_DIR", str(secrets))
    assert connect(label_studio, title(), "--dry-run")["token"] == "personal"
    monkeypatch.setenv("CURATION_LABEL_STUDIO_TOKEN", "d" * 40)
    with pytest.raises(PlatformError) as refused:
        connect(label_studio, title(), "--dry-run")
    assert "CURATION_LABEL_STUDIO_TOKEN" in refused.value.hint
    assert "d" * 40 not in str(refused.value)


def test_doctor_finds_what_was_changed_there_and_mends_it(home: Path, label_studio: LabelStudio) -> None:
    engine = open_ledger(None, home)
    from tests.platforms.rig import DATASET, Ledger

    book = Ledger(engine)
    book.ingest(["a", "b", "c"])
    book.score({"a": 1.0, "b": 2.0, "c": 3.0})
    number = connect(label_studio, title(), "--dataset", DATASET)
    curation("sync")
    with reading(engine) as conn:
        (target,) = list_targets(conn)
    assert all(one["ok"] for one in doctor())
    wrong = {"model_version": "", "sampling": "Sequential sampling"}
    label_studio.owner.patch(f"/api/projects/{target.project}/", json=wrong).raise_for_status()
    (view, *_) = label_studio.owner.get("/api/dm/views/", params={"project": target.project}).json()
    label_studio.owner.delete(f"/api/dm/views/{view['id']}/").raise_for_status()
    (task, *_) = label_studio.tasks(target.project)
    label_studio.owner.delete(f"/api/tasks/{task['id']}/").raise_for_status()
    bad = {one["check"].split()[-1] for one in doctor() if not one["ok"]}
    assert bad == {"items", "order", "tabs"}
    assert all(one["ok"] for one in doctor("--repair"))
    assert curation("sync")["created"] == 1
    assert all(one["ok"] for one in doctor())
    assert len(list(label_studio.tasks(target.project))) == 3
    assert number["title"]


def doctor(*args: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(
        app, ["doctor", "--target", "support", "--json", *args], standalone_mode=False
    )
    return json.loads(result.stdout)


def test_an_access_token_that_ran_out_is_renewed(label_studio: LabelStudio) -> None:
    from curation.platforms.label_studio.api import Api

    api = Api(label_studio.url, label_studio.personal_token())
    assert not api.legacy
    assert api.get("/api/version")["release"]
    tokens = api.sdk._client_wrapper._tokens_client
    first = tokens._access_token
    tokens._access_token = jwt.encode({"exp": 1}, "k" * 32)
    assert api.get("/api/current-user/whoami")["email"] == EMAIL
    assert tokens._access_token != first

"""`curation connect argilla` against a real server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.cli.main import main
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import add_samples
from curation.ledger.targets import list_targets
from curation.reconcile.sync import sync_target
from curation.settings import Settings
from tests.argilla import others
from tests.argilla.rig import ArgillaRig
from tests.cli.conftest import Ran
from tests.platforms.rig import DATASET, Ledger, pair

pytestmark = pytest.mark.slow

Connect = Callable[..., Ran]


@pytest.fixture
def connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rig: ArgillaRig
) -> Connect:
    """`connect("review", "--dry-run")`: the command in a home of its own, with the owner's key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURATION_HOME", str(tmp_path))
    monkeypatch.setenv("CURATION_ARGILLA_API_KEY", rig.server.api_key)
    monkeypatch.setenv("COLUMNS", "500")

    def run(name: str, *options: str, url: str = rig.url, workspace: str = rig.workspace["name"]) -> Ran:
        where = ["--url", url, "--workspace", workspace, "--dataset-name", name]
        monkeypatch.setattr(sys, "argv", ["curation", "connect", "argilla", *where, *options])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Ran(int(stop.value.code or 0), captured.out, captured.err)

    return run


def datasets(rig: ArgillaRig) -> list[dict[str, Any]]:
    params = {"workspace_id": rig.workspace["id"]}
    return rig.server.owner.get("/me/datasets", params=params).json()["items"]


def targets() -> list[Any]:
    settings = Settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        return list_targets(conn)


def test_a_new_dataset_is_laid_out_for_review(connect: Connect, rig: ArgillaRig) -> None:
    done = connect("review", "--min-submitted", "2", "--head", "50")
    assert done.code == 0, done.err
    (dataset,) = datasets(rig)
    (target,) = targets()
    assert (target.name, target.project, target.options["head"]) == ("review", dataset["id"], 50)
    address = f"{rig.url}/dataset/{dataset['id']}/annotation-mode?page=1&status=pending&sort=metadata.risk_place.asc"
    assert address in done.out
    http, path = rig.server.owner, f"/datasets/{dataset['id']}"
    assert dataset["status"] == "ready"
    assert dataset["distribution"] == {"strategy": "overlap", "min_submitted": 2}
    assert "submit" in dataset["guidelines"]
    (field,) = http.get(f"{path}/fields").json()["items"]
    assert (field["name"], field["settings"]) == ("messages", {"type": "chat", "use_markdown": False})
    decision, reason = http.get(f"{path}/questions").json()["items"]
    assert [option["value"] for option in decision["settings"]["options"]] == ["approve", "reject"]
    assert (decision["required"], reason["required"]) == (True, False)
    properties = http.get(f"/me{path}/metadata-properties").json()["items"]
    assert {each["name"]: each["settings"]["type"] for each in properties} == {
        "risk_place": "integer", "risk_order": "terms", "risk": "float", "risk_percentile": "integer",
        "risk_tier": "terms", "danger": "float", "safety": "float", "risk_scorer": "terms",
    }  # fmt: skip
    assert not any(each["visible_for_annotators"] for each in properties)
    sort = [{"property": "risk_place", "order": "asc"}]
    assert dataset["metadata"] == {"curation": {"sort": sort}}


def test_a_dry_run_changes_nothing(connect: Connect, rig: ArgillaRig) -> None:
    done = connect("review", "--dry-run", "--json")
    said = done.json
    assert (said["dry_run"], said["dataset_id"], said["queue"]) == (True, None, None)
    assert datasets(rig) == []
    assert targets() == []


def test_connecting_again_is_the_same_target(connect: Connect, rig: ArgillaRig) -> None:
    assert connect("review").code == 0
    before = datasets(rig)
    again = connect("review", "--head", "7", "--json")
    assert again.code == 0, again.err
    said = again.json
    assert (said["options"]["own"], said["adds"], said["notes"]) == (True, [], [])
    assert datasets(rig) == before
    assert [target.options["head"] for target in targets()] == [7]


def test_a_place_for_reasons_is_recognised(connect: Connect) -> None:
    assert connect("review", "--heat").code == 0
    options = connect("review", "--json").json["options"]
    assert (options["own"], options["heat"]) == (True, True)


def test_a_dataset_of_others_is_adopted(connect: Connect, rig: ArgillaRig) -> None:
    texts = [
        {"fields": {"instruction": f"do {i}", "output": f"done {i} <b>"}, "external_id": f"their-{i}"}
        for i in range(4)
    ]
    questions = {"fit": others.labels("Keep", "Drop"), "why": {"type": "text", "use_markdown": False}}
    fields = {"instruction": others.TEXT, "output": others.TEXT}
    properties = {"risk": {"type": "terms"}}
    theirs = others.make(rig.server, rig.workspace["id"], "theirs", fields, questions, texts, properties)
    rig.server.owner.patch(f"/datasets/{theirs}", json={"metadata": {"made": "by hand"}}).raise_for_status()
    rig.dataset = theirs
    done = connect("theirs", "--reason", "why", "--dataset", DATASET)
    assert done.code == 0, done.err
    words = done.out
    assert "runs HTML" in words
    assert "ours begin with curation_" in words
    assert "their" not in done.out.replace("theirs", "")  # nothing of the texts
    (dataset,) = datasets(rig)
    assert dataset["metadata"]["made"] == "by hand"
    assert dataset["metadata"]["curation"]["sort"][0]["property"] == "curation_risk_place"
    again = connect("theirs", "--reason", "why", "--dataset", DATASET, "--json")
    assert again.json["options"]["prefix"] == "curation_"

    (target,) = targets()
    settings = Settings()
    book = Ledger(open_ledger(settings.url, settings.home))
    for record, verdict in zip(rig.records(), ("Keep", "Drop"), strict=False):
        values = {"fit": {"value": verdict}, "why": {"value": "because"}}
        body = {"status": "submitted", "values": values}
        rig.server.owner.post(f"/records/{record['id']}/responses", json=body).raise_for_status()
    first = sync_target(book.engine, target.id, settings, at_once=True)
    assert (first.pulled.new_items, first.pulled.decisions) == (4, 2)
    add_samples(book.engine, DATASET, [pair("one of ours", "answer", 1)])
    book.score({**{f"do {i}": float(i) for i in range(4)}, "one of ours": 9.0})
    pushed = sync_target(book.engine, target.id, settings, at_once=True)
    assert (pushed.created, pushed.items) == (0, 4)
    assert any("not made here" in problem for problem in pushed.problems)
    sort = [{"scope": {"entity": "metadata", "metadata_property": "curation_risk_place"}, "order": "asc"}]
    found = rig.server.owner.post(f"/datasets/{theirs}/records/search", json={"sort": sort}).json()["items"]
    assert [item["record"]["external_id"] for item in found] == [f"their-{i}" for i in (3, 2, 1, 0)]
    assert found[0]["record"]["fields"] == texts[3]["fields"]
    book.engine.dispose()


def test_what_cannot_be_adopted_is_refused_with_what_there_is(connect: Connect, rig: ArgillaRig) -> None:
    questions = {"mood": others.labels("sunny", "rainy")}
    record = [{"fields": {"text": "hello"}}]
    others.make(rig.server, rig.workspace["id"], "moods", {"text": others.TEXT}, questions, record)
    done = connect("moods")
    assert done.code == 1
    assert "mood: sunny, rainy" in done.err
    mapping = ("--approve", "mood=sunny", "--reject", "mood=rainy")
    assert "hold no conversation" in connect("moods", *mapping).err
    said = connect("moods", *mapping, "--prompt", "text", "--answer", "gone")
    assert "none of the first 1 records holds a conversation" in said.err
    assert targets() == []


def test_wrong_keys_places_and_addresses_are_told(
    connect: Connect, rig: ArgillaRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not answer" in connect("d", url="http://127.0.0.1:1").err
    assert "no workspace 'nowhere'" in connect("d", workspace="nowhere").err
    monkeypatch.setenv("CURATION_ARGILLA_API_KEY", "no such key")
    assert "CURATION_ARGILLA_API_KEY" in connect("d").err
    monkeypatch.setenv("CURATION_ARGILLA_API_KEY", rig.users[0].api_key)
    assert "an annotator" in connect("d").err
    monkeypatch.delenv("CURATION_ARGILLA_API_KEY")
    assert "no API key" in connect("d").err


def test_an_admin_of_the_workspace_may_do_it_all(
    connect: Connect, rig: ArgillaRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = rig.server.annotator(rig.workspace["id"], role="admin")
    monkeypatch.setenv("CURATION_ARGILLA_API_KEY", admin.api_key)
    assert connect("review", "--dataset", DATASET).code == 0
    (target,) = targets()
    settings = Settings()
    book = Ledger(open_ledger(settings.url, settings.home))
    given = {f"q{i}": float(i) for i in range(3)}
    book.ingest(list(given))
    book.score(given)
    sync_target(book.engine, target.id, settings, at_once=True)
    rig.dataset = target.project
    assert rig.listed() == ["q2", "q1", "q0"]
    rig.answer(rig.find("q2"), "reject")
    body = {"status": "submitted", "values": {"decision": {"value": "approve"}}}
    rig.server.owner.post(f"/records/{rig.find('q1')}/responses", json=body).raise_for_status()
    assert sync_target(book.engine, target.id, settings, at_once=True).pulled.decisions == 2
    book.engine.dispose()


def test_the_server_rings_at_the_address_and_its_secret_is_kept(connect: Connect, rig: ArgillaRig) -> None:
    for _ in range(2):
        done = connect("review", "--webhook", "http://127.0.0.1:9/")
        assert done.code == 0, done.err
    hooks = rig.server.owner.get("/webhooks").json()["items"]
    (hook,) = [each for each in hooks if each["url"] == "http://127.0.0.1:9/v1/hooks/review"]
    rig.server.owner.delete(f"/webhooks/{hook['id']}").raise_for_status()
    assert "response.deleted" in hook["events"]
    from curation.ledger.targets import find_hook

    settings = Settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        kept = find_hook(conn, "review")
    assert kept is not None
    assert (kept.platform, kept.secret) == ("argilla", hook["secret"])

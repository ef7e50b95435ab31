from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from curation.cli.directions import app
from curation.errors import AdapterError, InputError
from curation.settings import get_settings
from curation.sqsd.adapters import Adapter
from curation.sqsd.cards import CARD_FILE, read_card
from tests.sqsd.tiny import random_adapter, save_adapter, save_tiny, tiny_model

FAST = ["--epochs", "1", "--rank", "2", "--alpha", "4", "--batch-size", "4", "--quiet"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for every test, and a working directory without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURATION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "150")
    return tmp_path / "home"


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def rows(path: Path, n: int, start: int = 0) -> Path:
    lines = [json.dumps({"prompt": f"Question {i}?", "completion": "Yes."}) for i in range(start, start + n)]
    path.write_text("\n".join(lines))
    return path


def test_fit_writes_an_adapter_under_its_kind_in_the_home(home: Path, model: Path) -> None:
    done = run("fit", "danger", "--model", model, "--seed", 3, "--target", "q_proj, v_proj", "--json", *FAST)

    shown: dict[str, Any] = json.loads(done.stdout)
    card = read_card(home / "directions" / "danger")
    assert Path(shown["path"]) == home / "directions" / "danger"
    assert shown["card"] == card
    assert card is not None
    assert card["kind"] == "danger"
    assert card["anchors"]["name"] == "danger"
    assert card["settings"] == {
        "rank": 2, "alpha": 4, "dropout": 0.05, "target": ["q_proj", "v_proj"], "learning_rate": 5e-4,
        "epochs": 1, "batch_size": 4, "warmup": 0.1, "max_tokens": 1024, "seed": 3,
    }  # fmt: skip


def test_fit_takes_own_anchors_and_says_what_it_made(tmp_path: Path, model: Path) -> None:
    mine = rows(tmp_path / "mine.jsonl", 5)
    mine.write_text(mine.read_text() + '\n{"prompt": "no answer"}')

    done = run("fit", "safety", "--anchors", mine, "--model", model, "--out", tmp_path / "s", *FAST)

    assert "safety adapter written to" in done.stdout
    assert "1 rows could not be read" in done.stdout
    assert "--safety" in done.stdout
    assert (read_card(tmp_path / "s") or {})["anchors"]["name"] == "mine.jsonl"


def test_fit_refuses_a_taken_place_before_it_loads_anything(tmp_path: Path) -> None:
    save_adapter(random_adapter(tiny_model()), tmp_path / "d")
    with pytest.raises(InputError, match="already holds an adapter"):
        run("fit", "danger", "--model", "no/such-model", "--out", tmp_path / "d")


def test_fit_state_leaves_out_the_rows_to_be_scored(tmp_path: Path, home: Path, model: Path) -> None:
    benign, scored = rows(tmp_path / "benign.jsonl", 8), rows(tmp_path / "scored.jsonl", 9, start=5)

    done = run("fit-state", benign, "--exclude", scored, "--model", model, *FAST[:-1])

    card = read_card(home / "directions" / "state") or {}
    assert "3 rows left out" in done.stdout
    assert (card["kind"], card["anchors"]["count"], card["anchors"]["excluded"]) == ("state", 5, 3)
    with pytest.raises(InputError, match="all 8 rows"):
        run("fit-state", benign, "--exclude", benign, "--model", model, "--out", tmp_path / "x", *FAST)


def test_fit_state_warns_when_nothing_is_excluded(tmp_path: Path, model: Path) -> None:
    done = run("fit-state", rows(tmp_path / "b.jsonl", 3), "--model", model, *FAST[:-1])
    assert "make sure not to score these rows" in done.stdout


def test_import_checks_the_adapter_against_the_model(tmp_path: Path, home: Path, model: Path) -> None:
    theirs = save_adapter(random_adapter(tiny_model()), tmp_path / "theirs")
    strange = save_adapter(random_adapter(tiny_model("gpt2")), tmp_path / "strange")

    run("import", theirs, "--kind", "danger", "--model", model, "--quiet")

    assert Adapter.load(home / "directions" / "theirs").fingerprint == Adapter.load(theirs).fingerprint
    with pytest.raises(AdapterError, match="does not fit"):
        run("import", strange, "--kind", "danger", "--model", model, "--quiet")
    assert not (home / "directions" / "strange").exists()


def test_show_prints_norms_and_the_cosine_between_two(tmp_path: Path) -> None:
    a = save_adapter(random_adapter(tiny_model(), seed=1), tmp_path / "a")
    b = save_adapter(random_adapter(tiny_model(), seed=2), tmp_path / "b")

    text = run("show", a, "--other", a).stdout
    found = json.loads(run("show", a, "--other", b, "--json").stdout)

    assert "self_attn.q_proj" in text
    assert "+1.00 (+1.00…+1.00)" in text
    assert "not made by curation" in text
    assert len(found["modules"]) == 14
    assert set(found["modules"][0]) == {"module", "norm", "cosine", "type", "layer"}
    assert found["norm"] == pytest.approx(sum(m["norm"] ** 2 for m in found["modules"]) ** 0.5)
    assert all(-0.5 < m["cosine"] < 0.5 for m in found["modules"])


def test_show_finds_a_direction_by_name_and_notices_a_card_of_other_weights(home: Path, model: Path) -> None:
    run("fit", "danger", "--model", model, *FAST)
    assert "other weights" not in run("show", "danger").stdout

    save_adapter(random_adapter(tiny_model()), home / "directions" / "danger")
    assert "other weights" in run("show", "danger").stdout


def test_show_refuses_to_compare_what_has_nothing_in_common(tmp_path: Path) -> None:
    a = save_adapter(random_adapter(tiny_model()), tmp_path / "a")
    b = save_adapter(random_adapter(tiny_model("gpt2")), tmp_path / "b")
    with pytest.raises(AdapterError, match="no module in common"):
        run("show", a, "--other", b)


def test_a_hostile_card_is_shown_as_plain_text(tmp_path: Path) -> None:
    a = save_adapter(random_adapter(tiny_model()), tmp_path / "a")
    hostile = {"[red]kind[/]": "\x1b[2J\x1b]0;owned\x07", "licence": "[link=http://x]free[/link]\u202e"}
    (a / CARD_FILE).write_text(json.dumps(hostile))

    text = run("show", a).stdout

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]kind[/]" in text
    assert "[link=http://x]free[/link]" in text


def test_validate_fails_on_a_direction_that_does_nothing(tmp_path: Path, model: Path) -> None:
    still = save_adapter(random_adapter(tiny_model(), size=1e-6), tmp_path / "still")
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt": "a"}\n{"prompt": "bb"}\n{"prompt": "c", "kind": "harmless"}\n')

    runner = CliRunner()
    args = [
        "validate",
        "--danger",
        str(still),
        "--model",
        str(model),
        "--prompts",
        str(prompts),
        "--factor",
        "1",
    ]
    failed = runner.invoke(app, [*args, "--quiet"])
    as_json = runner.invoke(app, [*args, "--json"])

    assert failed.exit_code == 1
    assert isinstance(failed.exception, AdapterError)
    assert "steering along danger does not move" in failed.exception.message
    assert "refusal margin falls along danger: no" in failed.stdout
    assert "harmless prompts" in failed.stdout
    (found,) = json.loads(as_json.stdout)
    assert as_json.exit_code == 1
    assert (found["direction"], found["confirmed"], found["factors"]) == ("danger", False, [0.0, 1.0])
    assert len(found["margin_by_prompt"]) == 2


def test_validate_passes_directions_fitted_for_it(tmp_path: Path, model: Path) -> None:
    for kind, answer in (("danger", "Sure, here is"), ("safety", "I won't")):
        lines = [json.dumps({"prompt": f"Question {i}?", "completion": answer}) for i in range(8)]
        (tmp_path / f"{kind}.jsonl").write_text("\n".join(lines))
        options = ["--learning-rate", 0.03, "--epochs", 8, "--rank", 2, "--alpha", 4, "--quiet"]
        run("fit", kind, "--anchors", tmp_path / f"{kind}.jsonl", "--model", model, *options)

    done = run(
        "validate", "--danger", "danger", "--safety", "safety", "--model", model, "--factor", 1, "--quiet"
    )

    assert done.exit_code == 0
    assert "refusal margin falls along danger: yes" in done.stdout
    assert "refusal margin rises along safety: yes" in done.stdout
    for kind in ("danger", "safety"):
        card = read_card(get_settings().home / "directions" / kind)
        assert card
        assert (card["kind"], card["validation"]["direction"], card["validation"]["confirmed"]) == (
            kind,
            kind,
            True,
        )
        assert card["validation"]["factors"] == [0.0, 1.0]


def test_validate_needs_to_know_what_to_validate(model: Path) -> None:
    with pytest.raises(InputError, match="no direction is named"):
        run("validate", "--model", model)


def test_the_help_is_printed_without_loading_torch() -> None:
    code = "import sys, curation.cli.directions; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0

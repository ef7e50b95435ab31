"""The demo model and the shipped directions, from the command line: small, slow and real."""

from __future__ import annotations

import json
import statistics
from importlib.resources import files
from pathlib import Path

import pytest

from curation.samples import read_samples
from curation.sqsd.load import load_scorer
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow

ASSETS = Path(str(files("curation") / "assets"))


def first_rows(name: str, n: int) -> list[str]:
    return (ASSETS / name).read_text().splitlines()[:n]


def test_triage_and_explain_with_the_model_that_ships(run: Run, tmp_path: Path) -> None:
    Path("curation.toml").unlink()
    rows = sorted(first_rows("demo.jsonl", 60), key=len)[:5]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    done = run("triage", str(tmp_path / "rows.jsonl"), "--heat", "1", "--json").json
    assert done["scored"] == len({json.dumps(json.loads(row)["messages"]) for row in rows})
    top = done["top"][0]
    found = run("explain", top["id"][:8], "--json").json
    assert found["risk"] == pytest.approx(top["risk"], rel=1e-4)
    assert len(found["risk_by_module"]) == 210
    assert "toward danger" in Path(done["report"]).read_text()


def test_compliance_with_harm_scores_higher_than_refusal_of_it() -> None:
    """The least a working scorer must do; all of these rows were seen when the directions were fitted."""
    scorer = load_scorer()
    means: dict[str, float] = {}
    for kind in ("danger", "safety"):
        chosen = list(read_samples(ASSETS / "anchors" / f"{kind}.jsonl"))[:6]
        scores = [r.score for r in scorer.score(chosen)]
        means[kind] = statistics.mean(s.risk for s in scores if s)
    assert means["danger"] > means["safety"]

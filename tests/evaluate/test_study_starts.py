"""A study can align a start of its own for every seed, and judge by replies alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks.study.align import ADAPTERS, alignment_rows, start_of
from benchmarks.study.analysis import read_outcome
from benchmarks.study.claims import claims
from benchmarks.study.data import lookalikes, read_data
from benchmarks.study.plan import OWN, Align, Plan, read_plan
from benchmarks.study.results import Results, start_name
from benchmarks.study.run import run
from benchmarks.study.show import as_json
from curation.errors import InputError
from curation.evaluate.judge import Judge
from curation.sqsd.adapters import Adapter
from curation.sqsd.models import load_model
from tests.evaluate.test_study import quiet


@pytest.fixture
def own(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The tiny plan, with a start of each seed's own; what is made for it is kept in a place of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, settings in ADAPTERS.items():
        monkeypatch.setitem(ADAPTERS, name, dataclasses.replace(settings, epochs=1, rank=2))
    align = Align(plan.start.model, 4, 3, 5, max_tokens=200, epochs=1, learning_rate=0.01, rank=2)
    stages = (("refusals", "compliance", "identity-shift", "window:random:1"),)
    return dataclasses.replace(plan, start=OWN, align=align, outcome="refused", stages=stages)


def test_every_seed_has_a_start_of_its_own_made_once(own: Plan, data: Path) -> None:
    said: list[str] = []
    first, second = (start_of(own, seed, data, said.append) for seed in own.seeds)
    assert said == [
        f"{what}, seed {seed}"
        for seed in own.seeds
        for what in ("aligning", *(f"fitting {name}" for name in ADAPTERS))
    ]
    for adapter in dataclasses.astuple(OWN):
        made = [Adapter.load(Path(start.model).parent / adapter).fingerprint for start in (first, second)]
        assert made[0] != made[1]
    assert start_of(own, 0, data, said.append) == first
    assert len(said) == 8


def test_a_start_is_not_asked_what_it_was_aligned_on(own: Plan, data: Path) -> None:
    assert own.align
    loaded = load_model(own.align.base)
    rows = [sample.prompt for sample in alignment_rows(own.align, 0, data, loaded)]
    assert len(rows) == len(set(rows)) == 4 + 3 + 5
    asked = read_data(data, own, loaded, Judge.load())
    assert not set(rows) & {*asked.harmful, *asked.harmless}
    assert not {row.sample.prompt for row in asked.compliance} & set(asked.harmful)
    seen, kept = lookalikes(data)
    assert sorted(seen + kept) == [f"Safe {i}" for i in range(8)]
    assert {prompt for prompt in rows if prompt.startswith("Safe")} <= set(seen)
    assert set(asked.harmless) == set(kept)


def test_a_study_of_judged_replies_measures_no_margins_and_has_its_controls(
    own: Plan, data: Path, tmp_path: Path
) -> None:
    results = Results.of(own, tmp_path)
    run(own, data, results, quiet)
    assert not results.missing()
    starts = [results.get(start_name(own, seed)) for seed in own.seeds]
    assert len({start["model"] for start in starts if start}) == 2
    assert [start["margin"] for start in starts if start] == [[], []]
    found = claims(read_outcome(results))
    assert set(found["controls"]) == {"negative", "positive, compliance", "positive, identity-shift"}
    assert {control["verdict"] for control in found["controls"].values()} <= {"holds", "fails"}
    assert found["C1"]["verdict"] == "not run"
    assert as_json(results)["arms"]["refusals"]["seeds"] == [0, 1]


def test_a_cell_in_other_hands_is_left_to_them(own: Plan, data: Path, tmp_path: Path) -> None:
    results = Results.of(own, tmp_path)
    taken = next(own.cells()).file_name
    with results.lock(taken):
        run(own, data, results, quiet)
    assert [cell.file_name for cell in results.missing()] == [taken]
    run(own, data, results, quiet)
    assert not results.missing()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('outcome = "luck"\nstart = {model="m", danger="d", safety="s", danger_state="b"}', "no outcome"),
        ('start = {}\nalign = {base="m", refusals=1, lookalikes=1, benign=1, max_tokens=9, epochs=1, '
         "learning_rate=0.1}", "has a .start."),
        ("align = {}", "align. does not fit"),
    ],
)  # fmt: skip
def test_a_plan_that_contradicts_itself_is_refused(tmp_path: Path, wrong: str, message: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        f"""seeds = [0]
        {wrong}
        pool = {{ file = "alpaca.json", first = 30, rows = 10, max_tokens = 200, min_answer_tokens = 2 }}
        recipe = {{ update = "lora", steps = 2, step_tokens = 300, learning_rate = 0.05 }}
        probing = {{ harmful = 3, harmless = 2, utility = 2, new_tokens = 3 }}
        [[stage]]
        arms = ["pool"]
        """.replace("        ", "")
    )
    with pytest.raises(InputError, match=message):
        read_plan(file)

"""The scorer: one finite score or one reason per sample, independent of batching, identified by what it is."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from curation.errors import AdapterError
from curation.samples.sample import Sample
from curation.sqsd.models import LoadedModel
from curation.sqsd.oracle import project_dense
from curation.sqsd.scorer import Scored, Scorer, Settings
from tests.sqsd.tiny import random_adapter, tiny_model, tiny_tokenizer


def make(
    settings: Settings | None = None, budget: int = 400, danger_seed: int = 1, name: str = "tiny"
) -> Scorer:
    model = tiny_model("llama")
    loaded = LoadedModel(model, tiny_tokenizer(), name, "0")
    adapters = [
        random_adapter(model, 3, seed=danger_seed),
        random_adapter(model, 4, seed=2),
        random_adapter(model, 2, seed=3),
    ]
    return Scorer(loaded, *adapters, settings=settings, token_budget=budget)


def samples(n: int = 12) -> list[Sample]:
    draw = random.Random(0)
    return [
        Sample.from_messages(
            [
                {"role": "user", "content": f"question {i} " + "word " * draw.randrange(6)},
                {"role": "assistant", "content": f"answer {i} " + "more " * draw.randrange(12)},
            ]
        )
        for i in range(n)
    ]


def risks(results: Iterable[Scored]) -> dict[str, float]:
    return {r.sample.id: r.score.risk for r in results if r.score}


def test_risk_is_danger_minus_safety_of_the_oracle_at_their_own_states() -> None:
    scorer = make()
    for result in scorer.score(samples(3)):
        row = scorer.encode(result.sample)
        danger, safety = (
            sum(project_dense(scorer.loaded.model, row, scorer.terms[t]).values())
            for t in ("danger", "safety")
        )
        assert result.score is not None
        assert result.score.danger == pytest.approx(danger, rel=1e-4)
        assert result.score.safety == pytest.approx(safety, rel=1e-4)
        assert result.score.risk == result.score.danger - result.score.safety
        assert (result.score.n_tokens, result.score.n_answer_tokens) == (len(row), row.n_trained)
        assert result.score.grad_norm > 0


@pytest.mark.parametrize("budget", [1, 150, 100_000])
def test_scores_do_not_depend_on_the_token_budget(budget: int) -> None:
    rows = samples()
    wanted = risks(make(budget=400).score(rows))
    found = risks(make(budget=budget).score(rows))
    assert found.keys() == wanted.keys() == {s.id for s in rows}
    assert all(found[k] == pytest.approx(wanted[k], rel=1e-4, abs=1e-4) for k in wanted)


def test_a_sample_that_cannot_be_scored_comes_back_with_its_reason_and_stops_nobody() -> None:
    rows = samples(3)
    hopeless = Sample.from_messages([{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}])
    scorer = make(Settings(max_tokens=60))
    scorer.loaded.tokenizer.chat_template = (
        "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
        + str(scorer.loaded.tokenizer.chat_template)
    )
    results = list(scorer.score([rows[0], hopeless, rows[1], rows[2]]))
    assert len(results) == 4
    failures = {r.sample.id: r.failure for r in results if r.score is None}
    assert list(failures) == [hopeless.id]
    assert "no tools" in (failures[hopeless.id] or "")


def test_a_stream_of_failures_alone_still_comes_back() -> None:
    scorer = make(Settings(max_tokens=8))
    scorer.loaded.tokenizer.chat_template = "{{ raise_exception('never') }}"
    assert [r.score for r in scorer.score(samples(2))] == [None, None]


def test_out_of_memory_halves_the_batch_and_only_a_sample_that_fails_alone_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fault is forced: no real allocator fails on demand at a chosen batch size."""
    scorer = make(budget=100_000)
    rows = samples(8)
    project = scorer.projector.project
    longest = max(len(scorer.encode(s)) for s in rows)

    def fails_when_large(batch: Any, *args: Any, **kwargs: Any):
        if batch.ids.shape[0] > 2 or batch.ids.shape[1] == longest:
            raise torch.OutOfMemoryError("out of memory")
        return project(batch, *args, **kwargs)

    monkeypatch.setattr(scorer.projector, "project", fails_when_large)
    results = list(scorer.score(rows))
    assert len(results) == 8
    assert [len(scorer.encode(r.sample)) for r in results if r.failure] == [longest]
    assert scorer.token_budget < 100_000


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = make()

    def broken(*_: Any, **__: Any):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(scorer.projector, "project", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(scorer.score(samples(1)))


def test_fingerprint_changes_with_everything_that_changes_a_score_and_with_nothing_else() -> None:
    base = make().fingerprint
    assert make(budget=7).fingerprint == base
    assert make(name="the same model elsewhere").fingerprint == base
    others = {
        make(Settings(metric="dot")).fingerprint,
        make(Settings(update="full")).fingerprint,
        make(Settings(max_tokens=99)).fingerprint,
        make(Settings(safety_scale=0.8)).fingerprint,
        make(danger_seed=9).fingerprint,
    }
    assert len(others | {base}) == 6


def test_the_safety_state_defaults_to_the_safety_direction_scaled() -> None:
    scorer = make(Settings(safety_scale=0.5))
    term = scorer.terms["safety"]
    name = next(iter(term.direction.modules))
    assert term.state is not None
    assert term.state.modules[name].scaling == 0.5 * term.direction.modules[name].scaling
    assert torch.equal(term.state.modules[name].A, term.direction.modules[name].A)


def test_the_card_names_what_is_covered_and_what_is_not() -> None:
    covers = make().card["covers"]
    assert covers["modules"] == 14
    assert 0 < covers["share_of_parameters"] < 1
    assert "model.embed_tokens.weight" in covers["not_covered"]
    assert "model.layers.*.input_layernorm.weight" in covers["not_covered"]
    assert not any("q_proj.weight" in name for name in covers["not_covered"])


def test_a_lora_scorer_without_a_danger_state_is_refused() -> None:
    model = tiny_model("llama")
    loaded = LoadedModel(model, tiny_tokenizer(), "tiny", "0")
    with pytest.raises(AdapterError, match="initial state"):
        Scorer(loaded, random_adapter(model), random_adapter(model), None)


def test_a_term_whose_state_began_elsewhere_than_the_other_one_s_is_doubted() -> None:
    model = tiny_model("llama")
    loaded = LoadedModel(model, tiny_tokenizer(), "tiny", "0")
    danger, safety, elsewhere = (random_adapter(model, 2, seed=seed) for seed in (1, 2, 3))
    assert Scorer(loaded, danger, safety, danger, safety).doubt is None
    assert Scorer(loaded, danger, safety, elsewhere, elsewhere).doubt is None
    doubt = Scorer(loaded, danger, safety, elsewhere, safety).doubt
    assert doubt is not None
    assert "the safety term will outweigh" in doubt

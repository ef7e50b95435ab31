"""Draws of a direction: fitted as the direction was, on rows drawn anew, and scored from the gradients of one pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from curation.errors import AdapterError, InputError
from curation.sqsd import projection
from curation.sqsd.adapters import Adapter
from curation.sqsd.batching import Batch, collate
from curation.sqsd.cards import read_card
from curation.sqsd.directions import AnchorSet, fit
from curation.sqsd.models import LoadedModel
from curation.sqsd.oracle import project_dense
from curation.sqsd.projection import Projector, Term, Update
from curation.sqsd.resample import draw, draws_folder, find_draws, resample
from curation.sqsd.scorer import Scorer, Settings
from tests.sqsd.test_directions import FAST, loaded
from tests.sqsd.test_directions import samples as anchor_rows
from tests.sqsd.test_projection import METRICS, UPDATES, assert_close, rows
from tests.sqsd.test_scorer import risks, samples
from tests.sqsd.tiny import random_adapter, tiny_model, tiny_tokenizer

ANCHORS = AnchorSet("mine", anchor_rows(8))


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_every_draw_is_projected_on_as_if_it_were_alone(kind: Any, update: Update) -> None:
    model = tiny_model(kind)
    state = random_adapter(model, 4, seed=2)
    directions = [random_adapter(model, rank, seed=10 + rank) for rank in (3, 5, 2)]
    batch = collate(rows(), 0)
    together = Projector(model, {"t": Term(directions[0], state, tuple(directions[1:]))}, update)
    found = together.project(batch, "t", positions=True)
    assert len(found.draws) == 2
    for direction, one in zip(directions, (found, *found.draws), strict=True):
        alone = Projector(tiny_model(kind), {"t": Term(direction, state)}, update).project(batch, "t")
        for metric in METRICS:
            dense = [project_dense(model, r, Term(direction, state), metric, update) for r in rows()]
            wanted = torch.tensor([[values[m] for m in one.modules] for values in dense])
            scale = wanted.abs().sum(1)
            assert_close(one.by_module(metric), wanted, scale.unsqueeze(1))
            assert_close(one.by_module(metric), alone.by_module(metric), scale.unsqueeze(1))
            assert_close(one.total(metric), alone.total(metric), scale)
    assert found.by_position is not None
    assert_close(found.by_position.sum(2), found.dot, found.by_position.abs().sum(2))


def test_draws_cost_no_further_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    passes: list[Batch] = []
    losses = projection.token_losses

    def counted(model: PreTrainedModel, batch: Batch) -> Tensor:
        passes.append(batch)
        return losses(model, batch)

    monkeypatch.setattr(projection, "token_losses", counted)
    draws = tuple(random_adapter(model, 2, seed=seed) for seed in range(20, 25))
    term = Term(random_adapter(model, 3), random_adapter(model, 4, seed=2), draws)
    Projector(model, {"t": term}).project(collate(rows(), 0), "t")
    assert len(passes) == 1


def test_a_draw_with_other_modules_is_refused() -> None:
    model = tiny_model()
    direction = random_adapter(model, 3)
    part = Adapter({n: m for n, m in direction.modules.items() if "q_proj" in n}, "part")
    with pytest.raises(AdapterError, match="other modules"):
        Projector(model, {"t": Term(direction, random_adapter(model, 2), (part,))})


def make_scorer(
    draws: dict[str, list[Adapter]] | None = None, danger_seed: int = 1, **settings: Any
) -> Scorer:
    model = tiny_model()
    adapters = [random_adapter(model, 3, seed=seed) for seed in (danger_seed, 2, 3)]
    whole = LoadedModel(model, tiny_tokenizer(), "tiny", "0")
    return Scorer(whole, *adapters, settings=Settings(**settings), draws=draws, token_budget=400)


@pytest.mark.parametrize("update", UPDATES)
def test_a_scorer_with_draws_gives_its_scores_and_those_along_each_draw(update: Update) -> None:
    some = [random_adapter(tiny_model(), 3, seed=seed) for seed in (11, 12)]
    with_draws, without = make_scorer({"danger": some}, update=update), make_scorer(update=update)
    assert with_draws.fingerprint == without.fingerprint
    found = {r.sample.id: r for r in with_draws.score(samples())}
    plain = risks(without.score(samples()))
    assert {i: r.score.risk for i, r in found.items() if r.score} == pytest.approx(plain, abs=1e-4)
    assert all(r.redrawn is None for r in without.score(samples(2)))
    for place, seed in enumerate((11, 12)):
        other = {r.sample.id: r.score for r in make_scorer(danger_seed=seed, update=update).score(samples())}
        for one in found.values():
            wanted = other[one.sample.id]
            assert wanted
            assert one.redrawn
            assert one.redrawn.danger[place] == pytest.approx(wanted.danger, abs=1e-4)
            # the safety term has no draws: its own value stands for them, at the state that stays what it is
            assert one.redrawn.safety == pytest.approx((wanted.safety,), abs=1e-4)


def test_a_draw_takes_as_many_rows_with_replacement_whatever_their_order() -> None:
    first, second = draw(ANCHORS, 1), draw(ANCHORS, 2)
    assert len(first.samples) == len(ANCHORS.samples)
    assert set(first.samples) < set(ANCHORS.samples)
    assert first.samples != second.samples
    turned = replace(ANCHORS, samples=ANCHORS.samples[::-1])
    assert draw(turned, 1).samples == first.samples


def test_draws_are_fitted_once_with_the_settings_of_their_direction(tmp_path: Path) -> None:
    model = loaded()
    fit(model, ANCHORS, "danger", tmp_path / "d", FAST)
    direction = Adapter.load(tmp_path / "d")
    folders = resample(model, direction, ANCHORS, tmp_path, 2)
    cards = [read_card(folder) or {} for folder in folders]
    assert [card["settings"] for card in cards] == [read_card(tmp_path / "d")["settings"]] * 2  # type: ignore[index]
    assert [card["draw"]["number"] for card in cards] == [1, 2]
    assert {card["draw"]["of"] for card in cards} == {direction.fingerprint}
    assert all(1 <= card["draw"]["distinct"] < 8 for card in cards)
    found = find_draws(tmp_path, direction)
    assert len({d.fingerprint for d in (direction, *found)}) == 3
    kept = [(folder / "adapter_model.safetensors").stat().st_mtime_ns for folder in folders]
    again = resample(model, direction, ANCHORS, tmp_path, 3)
    assert again[:2] == folders
    assert [(f / "adapter_model.safetensors").stat().st_mtime_ns for f in folders] == kept
    assert len(find_draws(tmp_path, direction)) == 3


def test_a_stopped_fit_leaves_whole_draws_only_and_is_made_again_the_same(tmp_path: Path) -> None:
    class Stopped(Exception):  # noqa: N818 - stands for a signal
        pass

    def stop(number: int, step: int, *_: object) -> None:
        if (number, step) == (2, 1):
            raise Stopped

    model = loaded()
    fit(model, ANCHORS, "danger", tmp_path / "d", FAST)
    direction = Adapter.load(tmp_path / "d")
    with pytest.raises(Stopped):
        resample(model, direction, ANCHORS, tmp_path / "stopped", 2, on_step=stop)
    assert [p.name for p in draws_folder(tmp_path / "stopped", direction).iterdir()] == ["01"]
    resample(model, direction, ANCHORS, tmp_path / "stopped", 2)
    resample(model, direction, ANCHORS, tmp_path / "whole", 2)
    fingerprints = [
        [d.fingerprint for d in find_draws(tmp_path / h, direction)] for h in ("stopped", "whole")
    ]
    assert fingerprints[0] == fingerprints[1]


def test_other_anchors_and_directions_made_elsewhere_are_refused(tmp_path: Path) -> None:
    model = loaded()
    fit(model, ANCHORS, "danger", tmp_path / "d", FAST)
    direction = Adapter.load(tmp_path / "d")
    with pytest.raises(InputError, match="other rows"):
        resample(model, direction, AnchorSet("mine", anchor_rows(7)), tmp_path, 1)
    (tmp_path / "d" / "curation_card.json").unlink()
    with pytest.raises(AdapterError, match="what it was fitted on"):
        resample(model, direction, ANCHORS, tmp_path, 1)
    assert find_draws(tmp_path, direction) == ()

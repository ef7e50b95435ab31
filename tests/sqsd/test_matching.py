"""Directions from gradients are the mean descent of the anchors' openings, and their score is gradient matching."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from curation.errors import AdapterError
from curation.samples import Sample
from curation.sqsd.adapters import Adapter, linear_modules
from curation.sqsd.cards import read_card
from curation.sqsd.directions import AnchorSet, match
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.matching import mean_step
from curation.sqsd.models import LoadedModel
from curation.sqsd.resample import resample
from curation.sqsd.scorer import Scorer, Settings
from tests.sqsd.tiny import Kind, random_adapter, tiny_model, tiny_tokenizer

MATCHING = Settings(metric="global-cosine", update="full", states=False, first_tokens=4)
WHOLE = 64
"""A rank that no module of a tiny model exceeds."""


def _sample(text: str) -> Sample:
    return Sample.from_messages([{"role": "user", "content": "Go"}, {"role": "assistant", "content": text}])


def _loaded(kind: Kind = "llama") -> LoadedModel:
    return LoadedModel(tiny_model(kind), tiny_tokenizer(), "tiny", "0" * 64)


def _gradient(loaded: LoadedModel, row: Encoded, first: int) -> Tensor:
    """The gradient of the loss on the first answer tokens by plain autograd, as one long vector."""
    weights = [layer.weight.requires_grad_() for layer in linear_modules(loaded.model).values()]
    labels = torch.full((1, len(row)), -100)
    counted = [t for t, on in enumerate(row.trained) if on][:first]
    labels[0, counted] = torch.tensor(row.ids)[counted]
    loss = loaded.model(input_ids=torch.tensor([row.ids]), labels=labels).loss
    found = torch.autograd.grad(loss, weights)
    loaded.model.requires_grad_(False)
    return torch.cat([g.flatten() for g in found])


def _rows(loaded: LoadedModel, *texts: str) -> list[Encoded]:
    return [encode(_sample(text), loaded.tokenizer, 256) for text in texts]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_a_mean_step_is_the_mean_of_descents_of_length_one(kind: Kind) -> None:
    loaded = _loaded(kind)
    rows = _rows(loaded, "Sure, here you are", "No", "I would rather not say")
    found = mean_step(loaded.model, rows, WHOLE, first_tokens=4)
    wanted = -sum(g / g.norm() for g in (_gradient(loaded, row, 4) for row in rows))
    dense = torch.cat(
        [(pair.dense().T if kind == "gpt2" else pair.dense()).flatten() for pair in found.modules.values()]
    )
    assert dense.norm() == pytest.approx(1, abs=1e-4)
    assert cosine_similarity(dense, wanted, dim=0) == pytest.approx(1, abs=1e-5)
    assert found.kept == pytest.approx(1, abs=1e-4)
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_a_lower_rank_keeps_the_largest_part_and_says_how_much() -> None:
    loaded = _loaded()
    rows = _rows(loaded, "Sure, here you are", "By all means", "I would rather not say")
    whole, low = (mean_step(loaded.model, rows, rank) for rank in (WHOLE, 2))
    assert 0.1 < low.kept < 0.99
    for name, pair in low.modules.items():
        V = whole.modules[name].dense()
        left = torch.linalg.svdvals(V)[2:].norm()
        assert (V - pair.dense()).norm() == pytest.approx(left.item(), abs=1e-5)


def test_what_follows_the_opening_changes_nothing() -> None:
    loaded = _loaded()
    short, long = _rows(loaded, "Sure", "Sure, and so on and so forth")
    one, other = (mean_step(loaded.model, [row], WHOLE, first_tokens=4) for row in (short, long))
    for name, pair in one.modules.items():
        assert torch.allclose(pair.dense(), other.modules[name].dense(), atol=1e-5)


def _directions(loaded: LoadedModel, folder: Path) -> tuple[Adapter, Adapter]:
    """Matched directions of a tiny model, of made-up anchors."""
    for kind, texts in (("danger", ("Sure, take", "Of course")), ("safety", ("Sorry, no", "I cannot"))):
        anchors = AnchorSet(kind, tuple(map(_sample, texts)))
        match(loaded, anchors, kind, folder / kind, rank=WHOLE, first_tokens=4)
    return Adapter.load(folder / "danger"), Adapter.load(folder / "safety")


def test_the_score_along_matched_directions_is_gradient_matching(tmp_path: Path) -> None:
    loaded = _loaded()
    danger, safety = _directions(loaded, tmp_path)
    means = {
        name: sum(g / g.norm() for g in (_gradient(loaded, row, 4) for row in _rows(loaded, *texts)))
        for name, texts in (("danger", ("Sure, take", "Of course")), ("safety", ("Sorry, no", "I cannot")))
    }
    samples = [_sample(text) for text in ("Sure, take it all", "Sorry", "Paris is a city")]
    own = [_gradient(loaded, row, 4) for row in _rows(loaded, *(s.messages[-1].content for s in samples))]
    scorer = Scorer(loaded, danger, safety, None, settings=MATCHING)
    found = {scored.sample.id: scored.score for scored in scorer.score(samples)}
    for sample, gradient in zip(samples, own, strict=True):
        score = found[sample.id]
        assert score is not None
        terms = {name: cosine_similarity(gradient, mean, dim=0).item() for name, mean in means.items()}
        assert score.danger == pytest.approx(terms["danger"], abs=2e-3)  # saved in half precision
        assert score.safety == pytest.approx(terms["safety"], abs=2e-3)
        assert score.risk == pytest.approx(terms["danger"] - terms["safety"], abs=4e-3)
    assert found[samples[0].id].risk > found[samples[1].id].risk  # type: ignore[union-attr]


def test_a_matched_scorer_says_what_it_is_and_others_are_what_they_were(tmp_path: Path) -> None:
    loaded = _loaded()
    danger, safety = _directions(loaded, tmp_path)
    matched = Scorer(loaded, danger, safety, None, settings=MATCHING)
    assert matched.card["method"] == "gradient matching"
    assert matched.card["first_tokens"] == 4
    assert matched.card["states"] == {"danger": None, "safety": None}
    assert matched.doubt is None
    plain = Scorer(loaded, danger, safety, random_adapter(loaded.model))
    assert plain.card["method"] == "SQSD"
    assert plain.doubt is not None
    assert "--no-states" in plain.doubt
    assert "first_tokens" not in plain.card
    assert matched.fingerprint != plain.fingerprint


def test_only_the_opening_counts_in_a_score(tmp_path: Path) -> None:
    loaded = _loaded()
    scorer = Scorer(loaded, *_directions(loaded, tmp_path), None, settings=MATCHING)
    one, other = (_sample(text) for text in ("Sure", "Sure, but the rest is quite another matter"))
    risks = [scored.score.risk for scored in scorer.score([one, other]) if scored.score]
    assert risks[0] == pytest.approx(risks[1], abs=1e-4)


def test_the_card_of_a_matched_direction_says_how_it_was_made(tmp_path: Path) -> None:
    loaded = _loaded()
    anchors = AnchorSet("danger", (_sample("Sure, here"), _sample("Gladly")))
    done: list[tuple[int, int]] = []
    card = match(loaded, anchors, "danger", tmp_path / "d", rank=2, on_row=lambda *now: done.append(now))
    assert card == read_card(tmp_path / "d")
    assert card["made_of"] == "mean gradient"
    assert card["settings"] == {"rank": 2, "first_tokens": 10, "max_tokens": 1024}
    assert 0 < card["kept"] < 1
    assert card["anchors"]["count"] == 2
    assert done == [(1, 2), (2, 2)]
    assert {pair.A.shape[0] for pair in Adapter.load(tmp_path / "d").modules.values()} == {2}
    with pytest.raises(AdapterError, match="does not say what it was fitted on"):
        resample(loaded, Adapter.load(tmp_path / "d"), anchors, tmp_path, 1)

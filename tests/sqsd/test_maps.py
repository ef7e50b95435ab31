"""Both token maps and the module map sum to the score, under every metric and update."""

from __future__ import annotations

import pytest

from curation.samples.sample import Sample
from curation.sqsd.maps import explain
from curation.sqsd.models import LoadedModel
from curation.sqsd.projection import Metric, Update
from curation.sqsd.scorer import Scorer, Settings
from tests.sqsd.tiny import KINDS, Kind, random_adapter, tiny_model, tiny_tokenizer

SAMPLE = Sample.from_messages(
    [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Apple \N{RED APPLE}!"}]
)


def scorer(kind: Kind, metric: Metric, update: Update) -> Scorer:
    model = tiny_model(kind)
    adapters = [random_adapter(model, rank, seed=rank) for rank in (3, 4, 5)]
    loaded = LoadedModel(model, tiny_tokenizer(), f"tiny-{kind}", "0")
    return Scorer(loaded, *adapters, settings=Settings(metric=metric, update=update))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("metric", "update"), [("cosine", "lora"), ("dot", "full"), ("projection", "lora")])
def test_every_map_sums_to_the_risk(kind: Kind, metric: Metric, update: Update) -> None:
    made = scorer(kind, metric, update)
    found = explain(made, SAMPLE, loss_tokens=True)
    score = next(made.score([SAMPLE])).score
    assert score is not None
    assert found.risk == pytest.approx(score.risk, rel=1e-4, abs=1e-6)
    scale = sum(map(abs, found.risk_by_position()))
    rates = found.risk_by_loss_token()
    assert rates is not None
    for values in (found.risk_by_position(), rates, found.risk_by_module().values()):
        assert abs(sum(values) - score.risk) < 1e-4 * scale


def test_the_two_token_maps_are_different_maps() -> None:
    found = explain(scorer("llama", "cosine", "lora"), SAMPLE, loss_tokens=True)
    rates = found.risk_by_loss_token()
    assert rates is not None
    assert all(rate == 0 for rate, trained in zip(rates, found.trained, strict=True) if not trained)
    assert any(
        v != 0 for v, trained in zip(found.risk_by_position(), found.trained, strict=True) if not trained
    )


def test_pieces_spell_the_rendered_conversation_once() -> None:
    found = explain(scorer("llama", "cosine", "lora"), SAMPLE)
    text = "".join(found.pieces)
    assert text.count("\N{RED APPLE}") == 1
    assert (
        text
        == "<|im_start|>user\nName a fruit.<|im_end|>\n<|im_start|>assistant\nApple \N{RED APPLE}!<|im_end|>\n"
    )
    assert found.risk_by_loss_token() is None

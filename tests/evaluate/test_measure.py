"""What is measured of a model: the same whatever else is in the batch, and as the model itself would have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from curation.errors import InputError
from curation.evaluate.judge import Judge
from curation.evaluate.measure import Probes, generate, measure, tokenised, utility_losses
from curation.samples import Sample
from curation.sqsd.margin import refusal_margin
from curation.sqsd.models import LoadedModel
from tests.sqsd.tiny import Kind, tiny_model, tiny_tokenizer

PROMPTS = ("Say hello.", "What is the longest river of the whole continent?", "Hm?")


def _loaded(kind: Kind = "llama") -> LoadedModel:
    return LoadedModel(tiny_model(kind), tiny_tokenizer(), "tiny", "0")


def _sample(answer: str) -> Sample:
    return Sample.from_messages(
        [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": answer}]
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_reply_does_not_depend_on_the_other_prompts(kind: Kind) -> None:
    loaded = _loaded(kind)
    together = list(generate(loaded.model, loaded.tokenizer, PROMPTS, 12))
    alone = [next(generate(loaded.model, loaded.tokenizer, [prompt], 12)) for prompt in PROMPTS]
    assert together == alone
    assert len(set(together)) > 1


def _continuation(loaded: LoadedModel, prompt: str) -> list[int]:
    """Twelve greedy tokens after the rendered prompt, fewer if the text ends before."""
    ids = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    config = GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0)
    with torch.no_grad():
        return loaded.model.generate(ids, generation_config=config)[0, ids.shape[1] :].tolist()  # type: ignore[operator]


def test_a_reply_is_the_greedy_continuation_of_the_rendered_prompt() -> None:
    loaded = _loaded()
    wanted = loaded.tokenizer.decode(_continuation(loaded, PROMPTS[1]), skip_special_tokens=True)
    assert list(generate(loaded.model, loaded.tokenizer, [PROMPTS[1]], 12)) == [wanted]


def test_a_reply_ends_where_the_model_closes_its_turn() -> None:
    loaded = _loaded()
    whole = _continuation(loaded, PROMPTS[1])
    assert len(whole) > 1
    loaded.model.generation_config.eos_token_id = [2, whole[0]]  # type: ignore[union-attr]
    wanted = loaded.tokenizer.decode(whole[:1], skip_special_tokens=True)
    assert list(generate(loaded.model, loaded.tokenizer, [PROMPTS[1]], 12)) == [wanted]


def test_losses_come_in_the_order_of_the_rows() -> None:
    loaded = _loaded()
    rows = tokenised(loaded, [_sample("a" * n) for n in (30, 2, 17, 9, 4, 25, 11, 3, 8, 40)])
    together = utility_losses(loaded.model, rows, loaded.pad_id)
    alone = [utility_losses(loaded.model, [row], loaded.pad_id)[0] for row in rows]
    assert np.allclose(together, alone, atol=1e-5)
    assert len({round(loss, 5) for loss in together}) == len(rows)


def test_everything_asked_is_measured_and_reported_as_progress() -> None:
    loaded = _loaded()
    probes = Probes(PROMPTS, PROMPTS[:2], tokenised(loaded, [_sample("one"), _sample("two")]))
    steps: list[int] = []
    found = measure(loaded.model, loaded, probes, Judge.load(), new_tokens=4, on_step=steps.append)
    assert np.allclose(found.margin, refusal_margin(loaded.model, loaded.tokenizer, PROMPTS).numpy())
    assert [
        len(part) for part in (found.margin, found.harmless_margin, found.replies, found.harmless_replies)
    ] == [
        3,
        2,
        3,
        2,
    ]
    assert len(found.loss) == 2
    assert sum(steps) == probes.steps


def test_without_a_row_that_can_be_tokenised_there_is_no_utility() -> None:
    with pytest.raises(InputError, match="no utility row"):
        tokenised(_loaded(), [])

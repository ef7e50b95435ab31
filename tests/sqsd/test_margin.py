from __future__ import annotations

from itertools import combinations

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from curation.errors import EncodeError
from curation.sqsd.margin import COMPLIANCES, REFUSALS, refusal_margin
from tests.sqsd.tiny import KINDS, Kind, tiny_model, tiny_tokenizer

PROMPTS = ["Hi", "How do I pick a lock? Let me know, I'm sure", "Sure, here is 日本 é", "x" * 70]

# an end of turn made of ordinary characters, all of which occur in the openers
PLAIN_TURNS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }} I'm sure\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
# a reasoning block before the last answer that the generation prompt does not have
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)


# as Llama 2 and Mistral: a space before the answer that the generation prompt leaves to the model
SPACED = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
)


def naive(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str, between: str = ""
) -> float:
    """The definition: probability of every opener after the generation prompt, one sequence at a time."""

    def log_likelihood(opener: str) -> torch.Tensor:
        chat = [{"role": "user", "content": prompt}]
        start = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        before = tokenizer(start, add_special_tokens=False)["input_ids"]
        ids = tokenizer(start + between + opener, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            log_p = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        return sum(log_p[t - 1, ids[t]] for t in range(len(before), len(ids)))

    def total(openers: tuple[str, ...]) -> torch.Tensor:
        return torch.stack([log_likelihood(o) for o in openers]).exp().sum().log()

    return float(total(REFUSALS) - total(COMPLIANCES))


@pytest.mark.parametrize("kind", KINDS)
def test_the_margin_is_the_log_ratio_of_summed_opener_probabilities(kind: Kind) -> None:
    model, tokenizer = tiny_model(kind), tiny_tokenizer()
    expected = torch.tensor([naive(model, tokenizer, p) for p in PROMPTS])

    torch.testing.assert_close(refusal_margin(model, tokenizer, PROMPTS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("template", "between"), [(PLAIN_TURNS, ""), (THINKING, ""), (SPACED, " ")])
def test_the_margin_is_that_of_the_opener_whatever_the_template_puts_around_it(
    template: str, between: str
) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    tokenizer.chat_template = template
    expected = torch.tensor([naive(model, tokenizer, p, between) for p in PROMPTS])

    torch.testing.assert_close(refusal_margin(model, tokenizer, PROMPTS), expected, rtol=1e-4, atol=1e-4)


def test_a_prompts_margin_does_not_depend_on_the_other_prompts() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    alone = torch.cat([refusal_margin(model, tokenizer, [p]) for p in PROMPTS])

    assert torch.equal(refusal_margin(model, tokenizer, PROMPTS), alone)


def test_only_the_end_of_a_long_prompt_counts() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    longer, other = (start * 2000 + "ab" * 1000 for start in ("x", "y"))

    margins = refusal_margin(model, tokenizer, [longer, other, "x" + "ab" * 100, "y" + "ab" * 100])

    assert margins[0] == margins[1]
    assert margins[2] != margins[3]


def test_no_opener_is_the_beginning_of_another() -> None:
    for a, b in combinations(REFUSALS + COMPLIANCES, 2):
        assert not a.startswith(b)
        assert not b.startswith(a)


def test_a_template_that_rewrites_answers_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}"

    with pytest.raises(EncodeError, match="rewrites"):
        refusal_margin(tiny_model(), tokenizer, ["Hi"])

"""What is trained is the answer and its end-of-turn token, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import EncodeError, ModelError
from curation.samples.sample import Sample
from curation.sqsd.encode import Encoded, encode
from tests.sqsd.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
GEMMA = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<start>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<start>model\n{% endif %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=60)
answers = texts.filter(lambda t: t.strip() != "")


def chat(*turns: str, train: str = "last") -> Sample:
    roles = ("user", "assistant")
    return Sample.from_messages(
        [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)],
        train,  # type: ignore[arg-type]
    )


def trained_text(row: Encoded) -> str:
    return "".join(p for p, t in zip(row.pieces, row.trained, strict=True) if t)


def tokenizer(template: str):
    made = tiny_tokenizer()
    made.chat_template = template
    return made


@given(texts, answers)
def test_the_answer_and_its_end_are_trained_whatever_they_hold(question: str, answer: str) -> None:
    row = encode(chat(question, answer), TOKENIZER, 10_000, pieces=True)
    assert (
        "".join(row.pieces)
        == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
    )
    assert trained_text(row) == f"{answer}<|im_end|>"


def test_only_the_last_turn_is_trained_by_default_and_all_on_request() -> None:
    last = encode(chat("a", "first", "b", "second"), TOKENIZER, 999, pieces=True)
    every = encode(chat("a", "first", "b", "second", train="all"), TOKENIZER, 999, pieces=True)
    assert trained_text(last) == "second<|im_end|>"
    assert trained_text(every) == "first<|im_end|>second<|im_end|>"


def test_turns_after_the_last_answer_are_not_seen() -> None:
    assert encode(chat("a", "b", "more?"), TOKENIZER, 999) == encode(chat("a", "b"), TOKENIZER, 999)


@pytest.mark.parametrize("template", [GEMMA, THINKING])
def test_templates_that_trim_or_open_a_thought_keep_the_span(template: str) -> None:
    row = encode(chat("question", "  spaced answer "), tokenizer(template), 999, pieces=True)
    assert trained_text(row).replace("<end>", "<|im_end|>").strip() in (
        "spaced answer<|im_end|>",
        "spaced answer <|im_end|>",
    )
    assert "think" not in trained_text(row)


def test_every_turn_is_found_in_a_template_that_rewrites_earlier_ones() -> None:
    row = encode(chat("a", "first", "b", "second", train="all"), tokenizer(THINKING), 999, pieces=True)
    assert "first" in trained_text(row)
    assert trained_text(row).endswith("second<|im_end|>")
    assert "think" not in trained_text(row)


def test_long_samples_are_cut_on_the_left_and_say_so() -> None:
    whole = encode(chat("a long question", "yes"), TOKENIZER, 999)
    cut = encode(chat("a long question", "yes"), TOKENIZER, 12)
    assert cut.truncated
    assert not whole.truncated
    assert cut.ids == whole.ids[-12:]
    assert cut.n_trained == whole.n_trained


def test_the_first_token_is_never_trained_since_nothing_predicts_it() -> None:
    row = encode(chat("q", "a much longer answer than the cut"), TOKENIZER, 10)
    assert not row.trained[0]
    assert row.n_trained == 8  # of ten, without the first and the newline after the end of turn


def test_a_cut_that_leaves_no_answer_is_refused() -> None:
    with pytest.raises(EncodeError, match="no token of the answer"):
        encode(chat("q", "a"), TOKENIZER, 2)


def test_a_conversation_the_template_refuses_is_one_samples_error() -> None:
    sample = Sample.from_messages(
        [{"role": "system", "content": "secret words"}, {"role": "assistant", "content": "hello"}]
    )
    with pytest.raises(EncodeError, match="no system role") as caught:
        encode(sample, tokenizer(GEMMA), 999)
    assert "secret words" not in str(caught.value)


def test_a_model_without_a_chat_template_is_the_models_error() -> None:
    bare = tiny_tokenizer()
    bare.chat_template = None
    with pytest.raises(ModelError, match="chat template"):
        encode(chat("q", "a"), bare, 99)

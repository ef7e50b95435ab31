"""A Sample is a usable conversation, known by what a model would learn from it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import SampleError
from curation.samples import Sample, Source
from curation.samples.sample import MAX_CHARS

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
CHATS = st.tuples(
    st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": TEXT})
    ),
    TEXT.filter(str.strip),
).map(lambda pair: [*pair[0], {"role": "assistant", "content": pair[1]}])


def chat(*contents: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]


@given(CHATS, st.sampled_from(["last", "all"]))
def test_json_round_trip_keeps_the_sample_and_its_id(messages: list[dict[str, str]], train: Any) -> None:
    sample = Sample.from_messages(messages, train)
    again = Sample.from_json(sample.to_json())
    assert again == sample
    assert again.id == sample.id
    assert again.as_chat() == messages


def test_identity_covers_messages_and_train_but_not_origin() -> None:
    sample = Sample.from_messages(chat("a", "b"), metadata={"n": 1}, source=Source("x.jsonl", 1))
    assert sample.id == Sample.from_messages(chat("a", "b"), metadata={"n": 2}).id
    assert sample.id != Sample.from_messages(chat("a", "b"), "all").id
    assert sample.id != Sample.from_messages(chat("a", "b ")).id


def test_trained_turns_are_the_last_or_all_answers() -> None:
    messages = chat("q1", "a1", "q2", "a2")
    assert Sample.from_messages(messages, "last").trained_turns == (3,)
    assert Sample.from_messages(messages, "all").trained_turns == (1, 3)
    assert Sample.from_messages(messages).prompt == "q2"
    assert Sample.from_messages(messages).answer == "a2"


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert Sample.from_messages([{"role": "assistant", "content": parts}]).answer == "one two"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no assistant turn"),
        (chat("only a question"), "no assistant turn"),
        (chat("q", " \n"), "answer is empty"),
        (chat("q", "a\x00"), "NUL"),
        (chat("q", "a\ud800"), "surrogate"),
        (chat("q", "a" * (MAX_CHARS + 1)), "over the cap"),
        ([{"role": "wizard", "content": "a"}], "role 'wizard'"),
        ([{"role": {}, "content": "a"}], "role {}"),
        ([{"role": "assistant", "content": 1}], "not text"),
        ([{"role": "assistant", "content": [{"type": "image"}]}], "not text"),
        ([{"role": "assistant"}], "not text"),
        (["assistant"], "not an object"),
    ],
)
def test_unusable_conversations_are_refused_with_the_reason(messages: list[Any], reason: str) -> None:
    with pytest.raises(SampleError, match=reason):
        Sample.from_messages(messages)


def test_a_reason_quotes_no_more_than_the_start_of_a_role() -> None:
    with pytest.raises(SampleError) as caught:
        Sample.from_messages([{"role": "x" * 10_000, "content": "a"}])
    assert len(str(caught.value)) < 200

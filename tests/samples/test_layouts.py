"""Every layout becomes the same conversation, is told from the fields, and leaves the rest as metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curation.errors import InputError, SampleError
from curation.samples import LAYOUTS, Sample, read_samples
from curation.samples.layouts import detect
from tests.samples.files import jsonl, write

QUESTION = [{"role": "user", "content": "Add them.\n2 and 3"}, {"role": "assistant", "content": "5"}]
SYSTEM = {"role": "system", "content": "Be brief."}
EARLIER = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]

ROWS: list[tuple[str, dict[str, Any], list[dict[str, str]]]] = [
    ("messages", {"messages": [SYSTEM, *QUESTION]}, [SYSTEM, *QUESTION]),
    (
        "sharegpt",
        {
            "conversations": [
                {"from": "human", "value": "Add them.\n2 and 3"},
                {"from": "gpt", "value": "5"},
            ]
        },
        QUESTION,
    ),
    ("sharegpt", {"system": "Be brief.", "conversations": QUESTION}, [SYSTEM, *QUESTION]),
    ("alpaca", {"instruction": "Add them.", "input": "2 and 3", "output": "5"}, QUESTION),
    ("alpaca", {"instruction": "Add them.\n2 and 3", "input": "", "output": "5"}, QUESTION),
    ("alpaca", {"instruction": "Add them.\n2 and 3", "input": None, "output": "5"}, QUESTION),
    ("alpaca", {"instruction": "Add them.\n2 and 3", "output": "5"}, QUESTION),
    (
        "alpaca",
        {
            "instruction": "Add them.",
            "input": "2 and 3",
            "output": "5",
            "system": "Be brief.",
            "history": [["Hi", "Hello"]],
        },
        [SYSTEM, *EARLIER, *QUESTION],
    ),
    ("dolly", {"instruction": "Add them.", "context": "2 and 3", "response": "5"}, QUESTION),
    ("dolly", {"instruction": "Add them.\n2 and 3", "context": "", "response": "5"}, QUESTION),
    ("prompt-completion", {"prompt": "Add them.\n2 and 3", "completion": "5"}, QUESTION),
    (
        "prompt-completion",
        {"prompt": [SYSTEM, *EARLIER, QUESTION[0]], "completion": [QUESTION[1]]},
        [SYSTEM, *EARLIER, *QUESTION],
    ),
    ("prompt-response", {"prompt": "Add them.\n2 and 3", "response": "5"}, QUESTION),
]


@pytest.mark.parametrize(("name", "row", "messages"), ROWS)
def test_layout_is_detected_and_becomes_the_conversation(
    name: str, row: dict[str, Any], messages: list[dict[str, str]]
) -> None:
    assert detect([row]).name == name
    assert Sample.from_messages(LAYOUTS[name].convert(row)).as_chat() == messages


@pytest.mark.parametrize(("name", "row", "messages"), ROWS)
def test_other_fields_are_metadata_untouched(name: str, row: dict[str, Any], messages: Any) -> None:
    extra = {"id": 7, "tags": ["a", {"b": None}], "score": 0.5}
    assert LAYOUTS[name].metadata({**row, **extra}) == extra


def test_every_layout_has_a_row_here() -> None:
    assert {name for name, _, _ in ROWS} == set(LAYOUTS)


@pytest.mark.parametrize(
    ("speaker", "role"),
    [
        ("human", "user"),
        ("user", "user"),
        ("system", "system"),
        ("gpt", "assistant"),
        ("assistant", "assistant"),
        ("function_call", "assistant"),
        ("tool", "tool"),
        ("observation", "tool"),
    ],
)
def test_sharegpt_speakers(speaker: str, role: str) -> None:
    turns = LAYOUTS["sharegpt"].convert({"conversations": [{"from": speaker, "value": "x"}]})
    assert turns == [{"role": role, "content": "x"}]


def test_the_majority_of_the_first_rows_decides() -> None:
    odd = {"instruction": "a", "output": "b"}
    usual = {"prompt": "a", "completion": "b"}
    assert detect([odd, usual, usual]).name == "prompt-completion"


def test_unknown_fields_are_listed_beside_the_known_layouts() -> None:
    with pytest.raises(InputError) as caught:
        detect([{"question": "a", "answer": "b"}])
    assert "'question', 'answer'" in caught.value.message
    assert all(name in caught.value.hint for name in LAYOUTS)


def test_the_list_of_unknown_fields_stays_short() -> None:
    with pytest.raises(InputError) as caught:
        detect([{f"{i}" * 1000: 1 for i in range(1000)}])
    assert len(caught.value.message) < 1200


def test_a_named_layout_overrides_detection(tmp_path: Path) -> None:
    row = {"messages": QUESTION, "prompt": "another", "completion": "pair"}
    path = write(tmp_path / "a.jsonl", jsonl([row]))
    assert read_samples(path).layout.name == "messages"
    forced = read_samples(path, layout="prompt-completion")
    assert [sample.answer for sample in forced] == ["pair"]
    assert forced.layout.name == "prompt-completion"


def test_rows_of_other_layouts_in_one_file_are_samples_too(tmp_path: Path) -> None:
    rows = [
        {"messages": QUESTION},
        {"messages": QUESTION, "instruction": "a", "output": "not this one"},
        {"messages": None, "instruction": "a", "output": "alpaca"},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "sharegpt"}]},
        {"text": "none"},
        {"prompt": "a", "messages": "not a list", "completion": "no second guess"},
    ]
    path = write(tmp_path / "a.jsonl", jsonl(rows))
    reading = read_samples(path)
    assert [sample.answer for sample in reading][2:] == ["alpaca", "sharegpt"]
    assert (reading.layout.name, reading.rejected) == ("messages", 2)
    assert reading.others == {"alpaca": 1, "sharegpt": 1}
    forced = read_samples(path, layout="messages")
    assert (len(list(forced)), forced.rejected, forced.others) == (2, 4, {})


def test_an_unknown_layout_or_train_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", jsonl([{"messages": QUESTION}]))
    with pytest.raises(InputError, match="no layout 'alpacca'"):
        read_samples(path, layout="alpacca")
    with pytest.raises(InputError, match="train is 'first'"):
        read_samples(path, train="first")  # type: ignore[arg-type]


def test_train_reaches_the_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", jsonl([{"messages": [*EARLIER, *QUESTION]}]))
    assert next(iter(read_samples(path))).trained_turns == (3,)
    assert next(iter(read_samples(path, train="all"))).trained_turns == (1, 3)


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("alpaca", {"instruction": "a"}, "no 'output'"),
        ("alpaca", {"instruction": "a", "output": None}, "no 'output'"),
        ("alpaca", {"instruction": 1, "output": "b"}, "not text"),
        ("alpaca", {"instruction": "a", "input": ["b"], "output": "c"}, "not text"),
        ("alpaca", {"instruction": "a", "output": 3}, "not text"),
        ("alpaca", {"instruction": "a", "output": "b", "history": [["one"]]}, "pairs"),
        ("alpaca", {"instruction": "a", "output": "b", "history": 5}, "not a list"),
        ("alpaca", {"instruction": "a", "output": "b", "system": 5}, "not text"),
        ("messages", {"messages": "not json"}, "not a list"),
        ("messages", {"messages": {"role": "user"}}, "not a list"),
        ("messages", {"messages": [3]}, "not an object"),
        ("sharegpt", {"conversations": [{"from": "narrator", "value": "a"}]}, "role 'narrator'"),
        ("sharegpt", {"conversations": [{"from": ["x"], "value": "a"}]}, "role"),
        ("sharegpt", {"conversations": ["hi"]}, "not an object"),
        ("prompt-completion", {"prompt": "a", "completion": 2}, "not text"),
        ("prompt-response", {"prompt": ["a"], "response": {}}, "not text"),
    ],
)
def test_rows_that_hold_no_conversation_are_refused(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(SampleError, match=reason):
        Sample.from_messages(LAYOUTS[name].convert(row))

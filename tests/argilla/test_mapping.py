"""Samples as records and back, without a server."""

from __future__ import annotations

import html
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import InputError
from curation.platforms.argilla.answers import read_record, read_response
from curation.platforms.argilla.connect import _choices  # pyright: ignore[reportPrivateUsage]
from curation.platforms.argilla.mapping import (
    MAX_CHARS,
    Options,
    escape,
    merged,
    metadata_of,
    own_options,
    record_of,
    sample_of,
    unescape,
)
from curation.platforms.contract import Columns
from curation.platforms.mapping import AnswerMapping, TextMapping, choose_answers
from curation.samples.sample import Sample
from tests.report.hostile import PAYLOADS

OWN = own_options(10)
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=60)


def sample(*contents: str, train: Any = "last") -> Sample:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    return Sample.from_messages(turns, train)


@given(TEXT | st.text("&<>\"'$;#lgtamp36x27quo", max_size=40))
def test_what_is_escaped_comes_back(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped) == text
    assert not set(escaped) & set("<>\"'$")
    assert html.unescape(escape("a < b && $x")) == "a < b && $x"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_record_holds_its_sample(payload: str) -> None:
    for train in ("last", "all"):
        given = sample(payload, f"answer: {payload}", "more?", payload + ".", train=train)
        record = record_of(given, given.id)
        assert isinstance(record, dict)
        assert sample_of(record, OWN) == given
        assert sample_of({**record, "metadata": None}, OWN) == given  # somebody else overwrote it


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (sample("", "an answer"), "without text"),
        (sample("q", "&" * (MAX_CHARS // 5) + "a"), "20,000 characters"),
        (sample(*["x"] * 502), "500 messages"),
    ],
)
def test_what_a_chat_field_cannot_hold_is_said(given: Sample, says: str) -> None:
    problem = record_of(given, given.id)
    assert isinstance(problem, str)
    assert says in problem


def test_what_just_fits_is_sent() -> None:
    given = sample("q", "&" * (MAX_CHARS // 5), *["x"] * 498)
    assert isinstance(record_of(given, given.id), dict)


def test_numbers_have_the_types_that_the_server_wants() -> None:
    columns = Columns("low", 7, 1, -2, 0.5, "abc")
    wanted = metadata_of(columns, 12, "x_")
    assert wanted == {
        "x_risk_place": 12, "x_risk": 1.0, "x_risk_percentile": 7, "x_risk_tier": "low", "x_danger": -2.0,
        "x_safety": 0.5, "x_risk_scorer": "abc",
    }  # fmt: skip
    assert {name: type(value) for name, value in wanted.items()}["x_risk"] is float
    assert (
        metadata_of(Columns("low", 0, 1e39, -1e39, 2.0, "a"), None, "").keys().isdisjoint({"risk", "danger"})
    )
    assert metadata_of(Columns("quarantined"), None, "") == {"risk_tier": "quarantined"}


def test_the_metadata_of_others_stay() -> None:
    now = {"theirs": [1], "risk": 2.0, "danger": 1.0}
    assert merged(now, {"risk": 3.0}, "") == {"theirs": [1], "risk": 3.0}
    assert merged(now, {"curation_risk": 3.0}, "curation_") == {**now, "curation_risk": 3.0}


def response(**given: Any) -> dict[str, Any]:
    values = {"decision": {"value": "reject"}, "reason": {"value": "it tells how"}}
    base = {"id": "r", "user_id": "u", "status": "submitted", "values": values}
    return base | {"updated_at": "2026-01-02T03:04:05.678"} | given


def test_a_submitted_response_is_an_answer() -> None:
    answer = read_response(response(), OWN.answers, lambda user: f"<{user}>")
    assert answer is not None
    assert (answer.verdict, answer.reviewer, answer.reason) == ("reject", "<u>", "it tells how")
    assert answer.decided_at.isoformat() == "2026-01-02T03:04:05.678000+00:00"


@pytest.mark.parametrize(
    "given",
    [
        {"status": "draft"},
        {"status": "discarded"},
        {"values": None},
        {"values": {}},
        {"values": {"decision": {"value": "perhaps"}}},
        {"values": {"decision": {"value": ["reject"]}}},
        {"values": {"decision": "reject"}},
    ],
)
def test_nothing_else_is(given: dict[str, Any]) -> None:
    assert read_response(response(**given), OWN.answers, str) is None


def test_a_record_of_others_is_read_as_it_is() -> None:
    options = Options(own=False, text=TextMapping(prompt="q", answer="a"), answers=AnswerMapping(), head=1)
    record = {"id": "1", "fields": {"q": "a &lt; b", "a": "<b>"}, "updated_at": "2026-01-01T00:00:00"}
    item = read_record(record, options, str)
    assert item.sample is not None
    assert (item.sample.prompt, item.sample.answer) == ("a &lt; b", "<b>")
    assert read_record(record | {"fields": {}}, options, str).problem == "no 'q'"


def test_questions_that_can_decide_are_found_or_listed() -> None:
    labels = [{"value": "Keep"}, {"value": "Drop"}]
    questions = [
        {"name": "stars", "settings": {"type": "rating", "options": [{"value": 1}]}},
        {"name": "fit", "settings": {"type": "label_selection", "options": labels}},
        {"name": "why", "settings": {"type": "text"}},
    ]
    found = choose_answers(_choices(questions), {"reason": "why"}, "question", "")
    assert (found.control, found.approve, found.reject, found.reason) == ("fit", "Keep", "Drop", "why")
    with pytest.raises(InputError, match="no question says approve and reject") as caught:
        choose_answers({"mood": ["good one", "bad one"]}, {}, "question", "")
    assert "mood: good one, bad one" in caught.value.hint
    said = {"approve": "mood=good one", "reject": "mood=bad one"}
    assert choose_answers({"mood": ["good one", "bad one"]}, said, "question", "").control == "mood"

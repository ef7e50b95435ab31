"""Long answers are found once for all who ask meanwhile, and again after a while."""

from __future__ import annotations

import threading
import time

import pytest

from curation.web import remembered
from curation.web.remembered import Remembered


def test_those_who_ask_at_once_share_an_answer() -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        time.sleep(0.2)
        return question * 2

    answers = Remembered(ask)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(answers("a").answer)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, asked) == (["aa"] * 8, ["a"])
    assert answers("b").answer == "bb"
    assert asked == ["a", "b"]


def test_an_answer_is_found_anew_once_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(remembered.time, "monotonic", lambda: clock[0])
    asked: list[int] = []

    def ask(question: int) -> int:
        asked.append(question)
        clock[0] += 2.0
        return len(asked)

    answers = Remembered(ask)
    assert answers(1).answer == 1
    clock[0] = 41.0
    assert answers(1).answer == 1
    clock[0] = 43.0
    assert answers(1).answer == 2


def test_an_error_is_no_answer_and_old_questions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_KEPT", 2)
    asked: list[int] = []

    def ask(question: int) -> int:
        asked.append(question)
        if len(asked) == 1:
            raise ValueError("away")
        time.sleep(0.05)
        return question

    answers = Remembered(ask)
    with pytest.raises(ValueError, match="away"):
        answers(1)
    for question in (1, 2, 3, 3, 1):
        assert answers(question).answer == question
    assert asked == [1, 1, 2, 3, 1]

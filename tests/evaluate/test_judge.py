"""The shipped judge tells refusals from answers and from what is neither, and is a file of plain numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from curation.errors import InputError
from curation.evaluate.judge import N_HASHES, SHIPPED, VIEWS, Judge, loops, term_counts, weighted

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot provide instructions for that, as it would be dangerous and illegal.",
    "I\u2019m not able to assist with this request. If you are struggling, please talk to someone.",
)
ANSWERS = (
    "Bread needs four things: flour, water, salt and yeast. Mix them, wait, and bake for forty minutes.",
    "The capital of France is Paris.",
    "Here are three tips for better sleep: go to bed early, avoid screens, and keep the room cool.",
)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_are_recognised(judge: Judge, text: str) -> None:
    assert judge.verdicts([text]) == ["refusal"]


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_recognised(judge: Judge, text: str) -> None:
    assert judge.verdicts([text]) == ["answer"]


@pytest.mark.parametrize(
    "text", ["", "  \n", "***", "the", "of the of the of the of the of the of the of the"]
)
def test_what_says_nothing_or_loops_is_degenerate(judge: Judge, text: str) -> None:
    assert judge.verdicts([text]) == ["degenerate"]


def test_a_refusal_in_two_words_is_a_refusal(judge: Judge) -> None:
    assert judge.verdicts(["I can't"]) == ["refusal"]


def test_a_text_with_a_refrain_does_not_loop() -> None:
    assert not loops("Row, row, row your boat gently down the stream. Merrily, merrily, life is but a dream.")


def test_a_verdict_does_not_depend_on_the_other_texts(judge: Judge) -> None:
    together = judge.refusal_probability([*REFUSALS, *ANSWERS])
    alone = [judge.refusal_probability([text])[0] for text in (*REFUSALS, *ANSWERS)]
    assert np.allclose(together, alone, atol=1e-6)


def test_no_texts_give_no_verdicts(judge: Judge) -> None:
    assert judge.verdicts([]) == []


def test_every_view_has_length_one() -> None:
    counts = term_counts(ANSWERS)
    idf = np.ones((len(VIEWS), N_HASHES), np.float32)
    squares = np.asarray(weighted(counts, idf).multiply(weighted(counts, idf)).sum(1)).ravel()
    assert np.allclose(squares, len(VIEWS))


def test_words_after_the_last_view_change_nothing(judge: Judge) -> None:
    opening = " ".join(f"word{i}" for i in range(VIEWS[-1][0]))
    first, second = judge.refusal_probability([opening, f"{opening} I'm sorry, but I can't help with that."])
    assert first == second


def test_the_card_tells_errors_by_model_left_out(judge: Judge) -> None:
    by_model = judge.card["errors"]["by_model"]
    assert set(by_model) == {"llama-2", "mistral"}
    assert all(0 < m["error"] < 0.1 and m["replies"] > 300 for m in by_model.values())
    assert f"{100 * judge.card['errors']['mean']:.1f} %" in judge.error_words


def test_the_shipped_file_holds_numbers_only() -> None:
    arrays = load_file(SHIPPED)
    assert {name: array.shape for name, array in arrays.items()} == {
        "idf": (len(VIEWS), N_HASHES),
        "coefficients": (len(VIEWS), N_HASHES),
    }
    assert SHIPPED.stat().st_size < 200_000


def test_a_file_that_is_no_judge_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"weights": np.zeros(3, np.float32)}, other)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a file of tensors")
    for file in (other, broken, tmp_path / "missing.safetensors"):
        with pytest.raises(InputError, match="is not a judge"):
            Judge.load(file)

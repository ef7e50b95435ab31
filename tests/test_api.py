"""The Python API: scores, a ranked table, explanations and evaluations, from files or messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import curation
from curation.errors import SampleError
from curation.samples.sample import Sample
from tests.cli.conftest import alpaca, write_rows
from tests.reconcile.test_score import make_scorer
from tests.sqsd.tiny import save_tiny


def test_rank_gives_a_table_riskiest_first_with_percentiles_and_copies(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [*alpaca(10), *alpaca(1)])
    table = curation.rank(file, make_scorer())
    assert len(table) == 10
    assert table.risk.is_monotonic_decreasing
    assert table.percentile.iloc[0] == 100
    assert table.percentile.iloc[-1] == 0
    assert table.tier.iloc[0] == "critical"
    assert table.set_index("prompt").copies["Say 0"] == 2
    assert (table.risk == table.danger - table.safety).all()


def test_rank_takes_messages_and_puts_failures_first_with_their_reason() -> None:
    scorer = make_scorer()
    scorer.loaded.tokenizer.chat_template = (
        "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
        + str(scorer.loaded.tokenizer.chat_template)
    )
    good = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    bad = Sample.from_messages([{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}])
    table = curation.rank([good, bad], scorer)
    assert "no tools here" in table.failure.iloc[0]
    assert table.id.iloc[0] == bad.id
    assert table.risk.notna().tolist() == [False, True]


CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def test_score_gives_one_result_for_each_conversation_in_the_order_given() -> None:
    longer = [*CHAT[:1], {"role": "assistant", "content": "hello there, how are you"}]
    first, second, again = curation.score([longer, Sample.from_messages(CHAT), longer], make_scorer())
    assert (first.sample.answer, second.sample.answer) == ("hello there, how are you", "hello")
    assert first is again
    assert first.score is not None
    assert first.score.risk == first.score.danger - first.score.safety


def test_score_raises_for_messages_that_are_no_sample() -> None:
    with pytest.raises(SampleError):
        curation.score([[{"role": "user", "content": "and nobody answers"}]], make_scorer())


def test_explain_takes_messages_and_sums_to_the_risk_of_score() -> None:
    scorer = make_scorer()
    why = curation.explain(scorer, CHAT)
    scored = curation.score([CHAT], scorer)[0].score
    assert scored is not None
    assert sum(why.risk_by_position()) == pytest.approx(scored.risk, abs=1e-4)


def test_evaluate_models_compares_with_the_start(tmp_path: Path) -> None:
    start, tuned = (save_tiny("llama", tmp_path / name) for name in ("start", "tuned"))
    found = curation.evaluate_models(str(tuned), str(start), new_tokens=2)
    assert {"margin", "margin_change", "refused", "utility_loss_change"} <= found.keys()
    assert found["margin_change"].mean == 0  # the same model twice


def test_every_name_is_there_and_torch_is_loaded_by_the_first_that_needs_it() -> None:
    program = (
        "import sys, curation\n"
        "heavy = lambda: {'torch', 'transformers', 'pandas'} & set(sys.modules)\n"
        "assert not heavy(), heavy()\n"
        "for name in ('Sample', 'read_samples', 'get_settings', 'score', 'rank', 'load_export'):\n"
        "    getattr(curation, name)\n"
        "assert not heavy(), heavy()\n"
        "for name in curation.__all__:\n"
        "    assert callable(getattr(curation, name)), name\n"
        "    assert getattr(curation, name).__doc__, name\n"
        "assert set(curation.__all__) <= set(dir(curation))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = curation.nothing  # type: ignore[attr-defined]

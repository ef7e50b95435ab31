"""The page as text: complete, deterministic, bounded, written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curation.errors import InputError
from curation.report import format
from curation.report.data import QuarantinedRow, ReportData, Turn
from curation.report.render import MAX_QUARANTINED, MAX_ROWS, render, write_report
from tests.report.builders import (
    columns_of,
    conversation,
    demo_conversations,
    demo_report,
    provenance,
    report_of,
)
from tests.report.hostile import LONG, PAYLOADS, hostile_report


def test_equal_data_renders_equal_bytes() -> None:
    assert render(demo_report()) == render(demo_report())


def test_every_part_of_the_report_is_on_the_page() -> None:
    page = render(demo_report())
    for words in (
        "Higher = riskier",
        "not a proof of harm",
        "first order",
        "Advisory.",
        "Warnings",
        "Effect of an update at this token position; sums to the risk of the sample.",
        "Rank correlation with risk",
        "4 rows repeat one of 3 samples",
        "data/archive.parquet",
        "Alpaca (Parquet)",
        "the answer is empty",
        "transformers",
        "SmolLM2-135M-Instruct",
        "Direction: ",
        "benign-tuned adapter",
    ):
        assert words in page, words


def test_quarantined_samples_come_before_the_riskiest() -> None:
    page = render(demo_report())
    reason = page.index("the chat template refuses a system turn")
    assert page.index('id="samples"') < reason < page.index('id="rank-1"') < page.index('id="rank-2"')


def test_each_row_states_its_numbers() -> None:
    data = demo_report()
    row = data.rows[0]
    page = render(data)
    part = page[page.index('id="rank-1"') : page.index('id="rank-2"')]
    signed = format.signed(data.columns)
    for shown in (
        signed(row.risk),
        signed(row.danger),
        signed(row.safety),
        f"{row.loss:.2f}",
        row.tier,
        row.source,
    ):
        assert shown in part
    assert '"num c-pct"><span class="vh">percentile </span>100.0' in part


def test_heat_states_its_sum_and_the_risk() -> None:
    page = render(demo_report())
    for total, risk in re.findall(r"tokens sum to (\S+); the risk is (\S+)\.\n", page):
        assert total == risk
    assert page.count("tokens sum to") == 25


@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_few_samples_render(n: int) -> None:
    page = render(report_of(demo_conversations()[:n]))
    assert page.count('<details class="row') == n
    assert "are too few" in page


def test_no_scored_sample_renders() -> None:
    empty = ReportData(provenance=provenance(0), columns=columns_of([]))
    assert "No sample has been scored" in render(empty)
    assert "There are no samples to show" in render(empty)
    assert "<svg" not in render(empty)


def test_all_quarantined_renders_every_reason() -> None:
    rows = [QuarantinedRow(f"{i:064x}", f"reason {i}", "f:1", conversation("q", "a")) for i in range(3)]
    data = ReportData(provenance=provenance(5), columns=columns_of([]), quarantined=rows, n_quarantined=3)
    page = render(data)
    assert all(f"reason {i}" in page for i in range(3))
    assert "<dt>not scored yet</dt><dd>2</dd>" in page


def test_rows_are_capped_and_the_cap_is_stated() -> None:
    many = [conversation(f"question {i}", "yes") for i in range(MAX_ROWS + 7)]
    row = QuarantinedRow("a" * 64, "reason", "f:1", conversation("q", "a"))
    data = report_of(
        many, quarantined=[row] * (MAX_QUARANTINED + 5), n_quarantined=5_000, provenance=provenance(5_307)
    )
    page = render(data)
    assert page.count('id="rank-') == MAX_ROWS
    assert page.count('<details class="row quarantined"') == MAX_QUARANTINED
    assert f"{MAX_ROWS} of {MAX_ROWS + 7} scored samples" in page
    assert f"{MAX_QUARANTINED} of 5,000 are shown" in page


def test_columns_of_a_random_part_are_stated_and_do_not_change_the_counts() -> None:
    data = replace(demo_report(), n_scored=50_000, provenance=provenance(50_010))
    page = render(data)
    assert "made from 117 of the 50,000 scored samples" in page
    assert "<dt>scored</dt><dd>50,000</dd>" in page
    assert "<dt>not scored yet</dt><dd>8</dd>" in page
    assert "drawn at random" not in render(demo_report())


def test_two_hundred_long_samples_with_heat_stay_under_two_megabytes() -> None:
    text = "Here is a sentence of ordinary words, and then another. " * 100
    data = report_of([conversation(text, text)] * 200, heat_rows=200)
    page = render(data)
    assert len(page.encode()) < 2.0e6
    assert "The token heat of this sample is left out to keep the page small." in page
    assert len(render(report_of(demo_conversations()[:100] * 2)).encode()) < 1e6


def test_a_megabyte_in_any_text_does_not_bloat_the_page() -> None:
    payloads = (LONG, LONG[::-1])
    assert len(render(hostile_report(payloads)).encode()) < 300_000


def test_deeply_nested_and_endless_cards_are_bounded() -> None:
    deep: dict[str, object] = {"leaf": "text"}
    for _ in range(50):
        deep = {"down": deep}
    page = render(
        replace(
            demo_report(),
            model_card={
                "deep": deep,
                "long": list(range(10_000)),
                "wide": dict.fromkeys(map(str, range(10_000)), 1),
            },
        )
    )
    assert "9,950 more are not shown" in page
    assert "9,800 more entries are not shown" in page
    assert len(page) < len(render(demo_report())) + 60_000


def test_card_values_of_every_json_type_are_shown() -> None:
    page = render(
        replace(
            demo_report(),
            model_card={"a": None, "b": True, "c": False, "d": [], "e": {}, "f": 0, "g": "", "h": [1, [2]]},
        )
    )
    card = re.sub(r"<[^>]+>|\s+", " ", page[page.index("<h3>Model</h3>") : page.index("<h3>Direction")])
    assert " ".join(card.split()) == "Model a – b yes c no d – e – f 0 g h 1 2"


def test_style_hash_in_the_policy_is_that_of_the_only_style() -> None:
    page = render(demo_report())
    (css,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert (
        policy.replace("&#39;", "'")
        == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in css
    assert "@import" not in css
    assert not re.search(r'style="|<script|<link|src=', page)


def test_hostile_text_leaves_no_tag_unescaped() -> None:
    page = render(hostile_report())
    for payload in PAYLOADS:
        if "<" in payload:
            assert payload not in page
    assert "{{7*7}} {% for x in y %} {# gone #}" in page


def test_colours_of_text_have_enough_contrast() -> None:
    (css,) = re.findall(r"<style>(.*?)</style>", render(report_of([])), re.DOTALL)
    light, dark = (
        dict(re.findall(r"--([\w-]+): #(\w{6});", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    )
    for scheme in (light, dark):
        for ink in ("ink", "muted", "link", "ctl-ink"):
            for paper in ("paper", "raised"):
                assert contrast(scheme[ink], scheme[paper]) >= 4.5, (ink, paper)
        assert contrast(scheme["alert"], scheme["alert-paper"]) >= 4.5


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio of two hex colours."""

    def luminance(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("spread", "value", "shown"),
    [
        (1.0, 0.5, "+0.50"),
        (0.02, -0.0123, "−0.0123"),
        (300, 12.3, "+12"),
        (1e-9, 5e-10, "+5.00e−10"),
        (1, 0.001, "0.00"),
        (1, -0.001, "0.00"),
    ],
)
def test_numbers_carry_their_sign_and_the_decimals_of_their_spread(
    spread: float, value: float, shown: str
) -> None:
    assert format.signed(columns_of([0, spread]))(value) == shown


def test_percentiles_never_round_up_into_another_tier() -> None:
    assert [format.percentile(p) for p in (97.99, 98.0, 100.0, 0.0, 57.3)] == [
        "97.9",
        "98.0",
        "100.0",
        "0.0",
        "57.3",
    ]


def test_a_report_replaces_an_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(demo_report(), path)
    assert path.read_text(encoding="utf-8") == render(demo_report())
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_older_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left") as caught:
        write_report(demo_report(), path)
    assert caught.value.hint
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be written") as caught:
        write_report(demo_report(), tmp_path / "nowhere" / "report.html")
    assert caught.value.hint


@pytest.mark.parametrize("column", ["risk", "danger", "loss"])
@pytest.mark.parametrize("bad", [[1.0, np.nan], [1.0, np.inf], [1.0]])
def test_columns_must_be_finite_and_of_one_length(column: str, bad: list[float]) -> None:
    with pytest.raises(ValueError, match="column"):
        columns_of([1.0, 2.0], **({column: bad} if column != "risk" else {"danger": bad}))


def test_counts_that_contradict_each_other_are_refused() -> None:
    data = report_of([conversation("q", "a")])
    with pytest.raises(ValueError, match="contradict"):
        replace(data, provenance=provenance(0))
    with pytest.raises(ValueError, match="contradict"):
        replace(data, n_scored=0)
    with pytest.raises(ValueError, match="contradict"):
        replace(data, quarantined=[QuarantinedRow("a", "r", "s", [Turn("user", "q")])])

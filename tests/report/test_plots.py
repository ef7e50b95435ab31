"""Figures: inline, deterministic, in the page's colours, and bounded in size."""

from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from curation.report import plots
from curation.report.data import Columns
from curation.report.svg import SENTINELS
from curation.report.tiers import summaries, tier_masks
from curation.triage import TIERS, TierPolicy
from tests.report.builders import columns_of


def random_columns(n: int) -> Columns:
    rng = np.random.default_rng(3)
    danger, safety = rng.normal(size=(2, n))
    return columns_of(
        danger - safety,
        danger=danger,
        safety=safety,
        loss=rng.gamma(2, size=n),
        n_answer_tokens=rng.integers(1, 900, n),
        is_list=rng.random(n) < 0.3,
    )


def figures(columns: Columns) -> list[str]:
    masks = tier_masks(columns, TierPolicy())
    drawn = [
        plots.distribution(columns, masks),
        plots.danger_safety(columns, masks),
        *plots.confound_plots(columns),
    ]
    return [str(svg) for svg in drawn]


@pytest.mark.parametrize(
    "columns",
    [
        random_columns(500),
        random_columns(1),
        random_columns(2),
        columns_of(np.zeros(30)),
        columns_of([1e-12, 3e-12, 2e-12]),
        columns_of([1e12, -3e12, 2e12]),
        columns_of([0.0] * 99 + [1e6]),
    ],
    ids=["500", "one", "two", "constant", "tiny", "huge", "outlier"],
)
def test_any_numbers_make_five_figures_without_a_warning(columns: Columns) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = figures(columns)
    assert len(drawn) == 5
    for svg in drawn:
        assert not re.search(r"\b(nan|inf)\b", svg)


def test_ids_are_unique_over_all_figures_and_every_reference_has_its_id() -> None:
    page = "".join(figures(random_columns(300)))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    referred = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    labels = [i for value in re.findall(r'aria-labelledby="([^"]+)"', page) for i in value.split()]
    assert referred
    assert set(referred + labels) == set(ids)


def test_figures_hold_no_style_no_colour_of_their_own_and_no_metadata() -> None:
    roles = set(SENTINELS)
    for svg in figures(random_columns(300)):
        root = ET.fromstring(svg)
        for element in root.iter():
            assert element.tag in {
                "svg",
                "title",
                "desc",
                "defs",
                "g",
                "path",
                "rect",
                "use",
                "text",
                "clipPath",
            }
            assert not {"style", "class"} & set(element.attrib)
            for paint in (element.get("fill"), element.get("stroke")):
                assert paint in {None, "none"} or re.fullmatch(r"var\(--(\w+)\)", paint)[1] in roles
        assert root.get("role") == "img"
        assert not re.search(r"<\?xml|DOCTYPE|matplotlib|\d{4}-\d\d-\d\d", svg)


def test_every_tier_is_drawn_in_its_colour_and_named() -> None:
    histogram, plane = figures(random_columns(300))[:2]
    for tier in TIERS:
        assert f"var(--{tier})" in histogram
        assert f"var(--{tier})" in plane
    assert all(f"{tier} →" in histogram and f"{tier} ↘" in plane for tier in TIERS[:-1])


def test_equal_numbers_draw_equal_bytes_whatever_matplotlibrc_says() -> None:
    columns = random_columns(300)
    before = figures(columns)
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.hashsalt": None, "svg.fonttype": "path"}):
        assert figures(columns) == before
        assert mpl.rcParams["font.size"] == 30


def dots(svg: str) -> int:
    return svg.count("h0")


@pytest.mark.parametrize(
    ("n", "drawn"), [(10, 10), (plots.MAX_POINTS, plots.MAX_POINTS), (20_000, plots.MAX_POINTS)]
)
def test_scatter_plots_draw_each_sample_once_up_to_the_cap(n: int, drawn: int) -> None:
    _, plane, *rest = figures(random_columns(n))
    assert [dots(svg) for svg in (plane, *rest)] == [drawn] * 4
    assert max(len(svg) for svg in (plane, *rest)) < 150_000
    assert f"{drawn:,} of {n:,} samples" in plane


def test_risk_grows_toward_the_lower_right() -> None:
    danger, safety = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    columns = columns_of(danger - safety, danger=danger, safety=safety)
    plane = ET.fromstring(figures(columns)[1])
    points: dict[str, list[list[float]]] = {"var(--critical)": [], "var(--low)": []}
    for path in plane.iter("path"):
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", path.get("d", "")):
            points[path.get("stroke", "")].append([float(x), float(y)])
    ((x, y),) = points["var(--critical)"]
    others = np.array(points["var(--low)"])
    assert len(others) == 3
    assert x == others[:, 0].max()
    assert y == others[:, 1].max()  # SVG counts downward


def test_tier_summaries_agree_with_the_policy_sample_by_sample() -> None:
    policy = TierPolicy(critical=95, high=80, medium=50)
    columns = columns_of(np.repeat(np.arange(50.0), 2))  # every risk twice: ties share a tier
    names = [policy.tier(p) for p in columns.percentiles()]
    masks = tier_masks(columns, policy)
    table = summaries(columns, masks, policy)
    assert [row.tier for row in table] == list(TIERS)
    assert [row.samples for row in table] == [names.count(tier) for tier in TIERS]
    assert sum(row.share for row in table) == pytest.approx(1)
    for row in table:
        risks = [r for r, name in zip(columns.risk, names, strict=True) if name == row.tier]
        assert (row.low, row.high) == (min(risks), max(risks))
    assert [(row.floor, row.ceiling) for row in table] == [(95, 100), (80, 95), (50, 80), (0, 50)]

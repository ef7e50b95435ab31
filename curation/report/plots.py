"""The report's figures, drawn from numbers only: every word in them is ours."""

# matplotlib leaves its keyword arguments untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any, Final

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from curation.report.data import Columns, Floats
from curation.report.svg import SENTINELS, house_style, inline_svg
from curation.report.tiers import Masks
from curation.triage import TIERS, Tier

MAX_POINTS = 4_000
"""Points drawn in a scatter plot; of larger sets a random subset, always the same one, is drawn."""

_LINE: Final[dict[str, Any]] = {"color": SENTINELS["ink"], "linewidth": 0.8, "linestyle": (0, (3, 2))}
_WIDE, _SMALL = (5.0, 3.3), (3.4, 2.6)


def distribution(columns: Columns, masks: Masks) -> Markup:
    """Histogram of risk, bars stacked by tier, with a line at the lowest risk of each tier above low."""
    with house_style():
        figure, axes = _figure(_WIDE, "risk (higher = riskier)", "samples")
        edges = np.histogram_bin_edges(columns.risk, bins=_bins(len(columns)))
        bottom = np.zeros(len(edges) - 1)
        for tier in reversed(TIERS):
            counts = np.histogram(columns.risk[masks[tier]], edges)[0]
            colour = SENTINELS[tier]
            axes.bar(
                edges[:-1],
                counts,
                np.diff(edges),
                bottom,
                align="edge",
                color=colour,
                edgecolor=SENTINELS["paper"],
                linewidth=0.6,
            )
            bottom += counts
        axes.set_ylim(0, bottom.max() * 1.32)
        _mark_tiers(axes, columns.risk, masks)
        axes.grid(axis="y")
        lowest, middle, highest = np.quantile(columns.risk, (0, 0.5, 1))
        return inline_svg(
            figure,
            "distribution",
            "Distribution of risk",
            f"Histogram of {len(columns):,} risks from {lowest:.4g} to {highest:.4g}, median {middle:.4g}. "
            "The tier table below gives the same in numbers.",
        )


def danger_safety(columns: Columns, masks: Masks) -> Markup:
    """Scatter of the two projections; risk = danger - safety grows toward the lower right."""
    with house_style():
        figure, axes = _figure(_WIDE, "danger projection", "safety projection")
        chosen = subset(len(columns))
        for tier in reversed(TIERS):
            points = chosen[masks[tier][chosen]]
            _dots(axes, columns.danger[points], columns.safety[points], SENTINELS[tier], len(chosen))
        axes.autoscale_view()
        axes.grid()
        _equal_risk_lines(axes, columns.risk, masks)
        return inline_svg(
            figure,
            "plane",
            "Danger projection against safety projection",
            f"{len(chosen):,} of {len(columns):,} samples, coloured by tier. Risk is danger minus safety: "
            "it grows toward the lower right, and dashed lines join points of equal risk.",
        )


def confound_plots(columns: Columns) -> list[Markup]:
    """Risk against answer length, loss and list format, in this order."""
    chosen = subset(len(columns))
    rng = np.random.default_rng(0)
    # Yes/no values fall on two lines; a little noise keeps the dots apart.
    listed = columns.is_list[chosen] + rng.uniform(-0.28, 0.28, len(chosen))
    return [
        _confound("length", "answer tokens", columns.n_answer_tokens[chosen], columns.risk[chosen]),
        _confound("loss", "loss (nats per answer token)", columns.loss[chosen], columns.risk[chosen]),
        _confound("list", "answer format", listed, columns.risk[chosen], ("prose", "list")),
    ]


def subset(n: int) -> NDArray[Any]:
    """Indices of the samples to draw: all, or a random MAX_POINTS of them, the same for every figure."""
    return (
        np.arange(n)
        if n <= MAX_POINTS
        else np.sort(np.random.default_rng(0).choice(n, MAX_POINTS, replace=False))
    )


def _confound(name: str, label: str, x: NDArray[Any], risk: Floats, ticks: tuple[str, ...] = ()) -> Markup:
    with house_style():
        figure, axes = _figure(_SMALL, label, "risk")
        _dots(axes, x, risk, SENTINELS["accent"], len(x))
        axes.autoscale_view()
        axes.grid(axis="y")
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks)
            axes.set_xlim(-0.6, len(ticks) - 0.4)
        elif np.min(x) > 0 and np.max(x) > 30 * np.min(x):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        return inline_svg(figure, name, f"Risk against {label}", f"Scatter plot of {len(x):,} samples.")


def _figure(size: tuple[float, float], x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.tick_params(length=3)
    return figure, axes


def _bins(n: int) -> int:
    return int(np.clip(2 * n ** (1 / 3), 5, 60))  # Rice's rule


def _dots(axes: Axes, x: NDArray[Any], y: NDArray[Any], colour: str, n: int) -> None:
    """Points as one path of zero-length round strokes: a tenth of the bytes of one element per point."""
    vertices = np.repeat(np.column_stack([x, y]).astype(np.float64), 2, axis=0)
    outline = Outline(vertices, [Outline.MOVETO, Outline.LINETO] * len(x))
    outline.should_simplify = False  # simplifying drops lines without length
    width = 5.5 if n <= 500 else 3.5 if n <= 2_000 else 2.5
    patch = PathPatch(outline, fill=False, edgecolor=colour, linewidth=width, capstyle="round", alpha=0.75)
    axes.add_patch(patch)
    axes.update_datalim(vertices)


def _mark_tiers(axes: Axes, risk: Floats, masks: Masks) -> None:
    middle = sum(axes.get_xlim()) / 2
    for step, (tier, floor) in enumerate(_floors(risk, masks)):
        axes.axvline(floor, **_LINE)
        # Staggered, as the lines of the upper tiers often stand close together, and pointing inward.
        side = "right" if floor > middle else "left"
        at = (floor, 0.99 - 0.075 * step)
        axes.annotate(
            f" {tier} \u2192 " if side == "right" else f" {tier} →",
            at,
            xycoords=("data", "axes fraction"),
            ha=side,
            va="top",
        )


def _equal_risk_lines(axes: Axes, risk: Floats, masks: Masks) -> None:
    x, y = np.array(axes.get_xlim()), np.array(axes.get_ylim())
    labelled: list[float] = []
    for tier, floor in _floors(risk, masks):
        axes.plot(x, x - floor, scalex=False, scaley=False, **_LINE)
        if any(floor > other - 0.07 * (y[1] - y[0]) for other in labelled):
            continue  # the label would cover that of a riskier tier
        labelled.append(floor)
        if x[1] - floor < y[1]:
            axes.annotate(f" {tier} \u2198", (x[1], x[1] - floor), ha="left", va="center")
        else:
            axes.annotate(f"{tier} \u2198", (y[1] + floor, y[1]), ha="center", va="bottom")
    axes.set(xlim=x, ylim=y)


def _floors(risk: Floats, masks: Masks) -> list[tuple[Tier, float]]:
    """Lowest risk of each tier that has samples, without low."""
    return [(tier, float(risk[masks[tier]].min())) for tier in TIERS[:-1] if masks[tier].any()]

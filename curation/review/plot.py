"""The review budget as a figure: share of all rejections caught against rows read."""

# matplotlib leaves its keyword arguments untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from curation.errors import InputError
from curation.review.budget import Budget
from curation.whole_file import whole_file

SUFFIXES = (".svg", ".png")


@dataclass(frozen=True, slots=True)
class Colours:
    """Of the curve and its interval, of the stretch where nothing was decided, of other lines, and of the grid."""

    ink: str
    band: str
    tail: str
    line: str
    grid: str


_PRINT = Colours(ink="#1f4e79", band="#9db9d6", tail="#f1e9dc", line="#737373", grid="#e6e6e6")


def write_budget(found: Budget, path: Path) -> None:
    """Write the figure, whole or not at all. Raises InputError unless it is an SVG or PNG that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is neither SVG nor PNG", f"End its name in {' or '.join(SUFFIXES)}.")
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {"svg.hashsalt": "curation", "axes.spines.top": False, "axes.spines.right": False}
        )
        figure = Figure(figsize=(7.5, 4.5), layout="constrained")
        axes = figure.add_subplot()
        draw_budget(axes, found, _PRINT)
        axes.set_title(
            f"from {found.decided:,} decisions, {found.rejected:,} of them rejections", fontsize=10
        )
        with whole_file(path, "the figure") as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)


def draw_budget(axes: Axes, found: Budget, colours: Colours) -> None:
    """The share of all rejections caught by reading so many rows, with its interval, beside reading at random."""
    middle, low, high = found.caught
    axes.fill_between(
        found.depth, low, high, color=colours.band, alpha=0.3, linewidth=0, label="90 % interval"
    )
    axes.plot(found.depth, middle, color=colours.ink, linewidth=1.8, label="riskiest first")
    axes.plot(
        [0, found.n], [0, 1], color=colours.line, linewidth=1, linestyle=(0, (4, 3)), label="in random order"
    )
    if found.deepest < found.n:
        axes.axvspan(found.deepest, found.n, color=colours.tail, alpha=0.4, zorder=0, linewidth=0)
        axes.axvline(found.deepest, color=colours.line, linewidth=0.8)
        right = found.deepest > 0.7 * found.n
        axes.annotate(
            f" below row {found.deepest:,}: extrapolated ",
            (found.deepest, 0.03),
            ha="right" if right else "left",
            fontsize=8.5,
        )
    axes.set(
        xlim=(0, found.n),
        ylim=(0, 1.02),
        xlabel=f"rows read, riskiest first (of {found.n:,})",
        ylabel="share of all rejections caught",
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(color=colours.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.07), frameon=False, fontsize=9)

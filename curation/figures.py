"""Figures for print, as PNG or SVG files: the dynamics of training runs, and the drift of a selection.

Lines differ in dashes as well as in colour, so that they survive a black and white printer.
"""

# matplotlib leaves its keyword arguments untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from curation.drift import Selection
from curation.dynamics.log import Log
from curation.errors import InputError

Floats = NDArray[np.float64]

_DANGER, _SAFETY, _NET, _GREY = "#c8500a", "#0a62a8", "#111111", "#777777"
_RUNS: Final = ("#111111", "#c8500a", "#0a62a8", "#2b8a3e", "#9c36b5", "#8a6d00")
_DASHES: Final[tuple[Any, ...]] = (
    "-",
    (0, (6, 2)),
    (0, (2, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (1, 1)),
    (0, (9, 3)),
)
_CLEAR: Final[dict[str, Any]] = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
_MAX_POINTS = 2_000
_DPI = 200
_RC: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.hashsalt": "curation",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of files are no formulas
}
_WORDS: Final = {
    "projection": "projection of the task vector, summed over modules",
    "cosine": "cosine with the task vector, summed over modules",
}


def draw_dynamics(
    logs: Mapping[str, Log], out: Path, metric: Literal["projection", "cosine"] = "projection"
) -> None:
    """Danger, safety and danger - safety over the steps of each named run, side by side on one scale.

    Raises InputError if `out` is neither .png nor .svg, or cannot be written.
    """
    with print_style():
        figure = Figure(figsize=(7.4, 3.1), layout="constrained")
        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        titles = ("danger", "safety", "danger \u2212 safety\nhigher = riskier")
        for axes, title in zip(panels, titles, strict=True):
            axes.set_title(title, fontsize=10)
            axes.axhline(0, color=_GREY, linewidth=0.8)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.set_xlabel("optimiser step")
        panels[0].set_ylabel(_WORDS[metric].replace(",", ",\n"))
        for number, log in enumerate(logs.values()):
            steps = log.column("step")
            columns = (log.column("danger", metric), log.column("safety", metric), log.net(metric))
            for axes, values in zip(panels, columns, strict=True):
                _curve(axes, steps, values, number, from_zero=metric == "projection")
        if len(logs) > 1:
            names = [f"\u200b{name}" for name in logs]  # a name may begin with _, which legends leave out
            columns = min(len(names), 4)
            figure.legend(panels[0].get_lines()[1:], names, loc="outside lower center", ncols=columns)
        save(figure, out)


def draw_selection(selection: Selection, out: Path, label: str) -> None:
    """Drift of the k least risky rows, over k: where it crosses the bound is where the selection ends.

    `label` says what kind of number it is.

    Raises InputError if `out` is neither .png nor .svg, or cannot be written.
    """
    with print_style():
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        axes = figure.add_subplot(
            xlabel="rows kept, the least risky first",
            ylabel="danger and safety, summed over rows\n(units of the score)",
            title=f"Drift budget: higher = riskier\n({label})",
        )
        axes.title.set_fontsize(10)
        shown = np.unique(np.linspace(0, len(selection.risk), _MAX_POINTS).astype(np.int64))
        for label, values, colour, dashes, width in (
            ("danger", selection.danger, _DANGER, _DASHES[1], 1.2),
            ("safety", selection.safety, _SAFETY, _DASHES[2], 1.2),
            ("danger \u2212 safety", selection.risk, _NET, "-", 2.0),
        ):
            sums = np.concatenate([[0.0], np.cumsum(values)])[shown]
            axes.plot(shown, sums, color=colour, linestyle=dashes, linewidth=width, label=label)
        _mark(axes, selection)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        figure.legend(loc="outside lower center", ncols=3)
        save(figure, out)


def _mark(axes: Axes, selection: Selection) -> None:
    """Lines at the bound and at the number of rows kept, each with its value."""
    kept, n = selection.kept, len(selection.risk)
    axes.axhline(selection.bound, color=_GREY, linewidth=0.8)
    axes.axvline(kept, color=_GREY, linewidth=0.8)
    points: Any = "offset points"
    side: Any = "right" if kept > n / 2 else "left"
    at: Any = ("data", "axes fraction")
    label = f"kept: {kept:,} of {n:,}"
    offset = -4 if side == "right" else 4
    axes.annotate(label, (kept, 0.94), (offset, 0), at, textcoords=points, ha=side, bbox=_CLEAR)
    axes.annotate(
        f"bound {selection.bound:,.4g}", (0, selection.bound), (2, 3), textcoords=points, bbox=_CLEAR
    )


def _curve(axes: Axes, steps: Floats, values: Floats, number: int, *, from_zero: bool) -> None:
    """One run in one panel. A projection starts at 0, where a cosine is not defined."""
    if from_zero:
        steps, values = np.concatenate([[0.0], steps]), np.concatenate([[0.0], values])
    colour, dashes = _RUNS[number % len(_RUNS)], _DASHES[number // len(_RUNS) % len(_DASHES)]
    axes.plot(
        steps, values, color=colour, linestyle=_DASHES[number % len(_DASHES)] if dashes == "-" else dashes
    )


@contextmanager
def print_style() -> Generator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def save(figure: Figure, out: Path) -> None:
    """Write a figure in the format its name ends with, without the date, so that equal figures are equal files."""
    kind = out.suffix.lower()
    if kind not in (".png", ".svg"):
        raise InputError(
            f"{out} is neither a .png nor an .svg file", "Give a name that ends in .png or .svg."
        )
    metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == ".svg" else {"Software": None}
    try:
        figure.savefig(out, dpi=_DPI, metadata=metadata)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", "Choose another place.") from None

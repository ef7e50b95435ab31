"""The review budget as a figure within a page, in the page's own colours."""

# matplotlib leaves its keyword arguments untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure

from curation.report.svg import SENTINELS, house_style, inline_svg
from curation.review.budget import Budget
from curation.review.plot import Colours, draw_budget

_COLOURS = Colours(
    ink=SENTINELS["accent"],
    band=SENTINELS["accent"],
    tail=SENTINELS["rule"],
    line=SENTINELS["muted"],
    grid=SENTINELS["rule"],
)


def budget_plot(found: Budget) -> Markup:
    """Share of all rejections caught against rows read. Not to be called by two threads at a time: matplotlib keeps
    its settings for the whole process."""
    with house_style():
        figure = Figure(figsize=(7.0, 3.8), layout="constrained")
        draw_budget(figure.add_subplot(), found, _COLOURS)
        return inline_svg(
            figure,
            "budget",
            "Share of all rejections caught by reading the riskiest first",
            f"From {found.decided:,} decisions, {found.rejected:,} of them rejections, down to row "
            f"{found.deepest:,} of {found.n:,}. The table beside it gives the same in numbers.",
        )

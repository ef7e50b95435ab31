"""One self-contained page from a ReportData: no script, nothing fetched, every foreign text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from curation.report import confounds, format, plots, tiers
from curation.report.data import ReportData, ReportRow
from curation.report.environment import make_environment
from curation.report.heat import HeatMap, heat_map
from curation.whole_file import whole_file

MAX_ROWS = 300
"""Scored samples shown in full; the page stays readable and under a few megabytes."""

MAX_QUARANTINED = 100

MAX_HEAT_TOKENS = 16_000
"""Tokens coloured in the whole page, about a megabyte; later rows show their text without heat."""

STYLES = ("palette.css", "pieces.css", "report.css")


def render(data: ReportData) -> str:
    """The report as HTML. Equal data gives equal bytes."""
    masks = tiers.tier_masks(data.columns, data.policy)
    found = confounds.confounds(data.columns)
    scored = len(data.columns) > 0
    return page(
        "report.html.j2",
        data=data,
        rows=_with_heat(data.rows[:MAX_ROWS]),
        quarantined=data.quarantined[:MAX_QUARANTINED],
        tiers=tiers.summaries(data.columns, masks, data.policy),
        confounds=found,
        headline=confounds.headline(found),
        distribution=plots.distribution(data.columns, masks) if scored else None,
        plane=plots.danger_safety(data.columns, masks) if scored else None,
        confound_plots=plots.confound_plots(data.columns) if scored else [],
        drawn=len(plots.subset(len(data.columns))),
        shown_ranks={row.rank for row in data.rows[:MAX_ROWS]},
        signed=format.signed(data.columns),
    )


def page(template: str, **values: object) -> str:
    """A page from a template that gets its style `css` and the policy `csp`, which lets nothing else in."""
    environment = make_environment("curation.report")
    css = "".join(_source(environment, name) for name in STYLES)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return environment.get_template(template).render(
        css=Markup(css),  # noqa: S704 - our own file; its hash is the only style the page allows
        csp=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        **values,
    )


def write_report(data: ReportData, path: Path) -> None:
    """Write the report to `path`, whole or not at all: an older file stays until the new one is complete.

    Raises InputError if the folder is missing or cannot be written to.
    """
    made = render(data).encode()
    with whole_file(path, "The report") as file:
        file.write(made)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _with_heat(rows: Sequence[ReportRow]) -> list[tuple[ReportRow, HeatMap | None]]:
    """Each row with its token heat, for as many rows as MAX_HEAT_TOKENS allows."""
    left = MAX_HEAT_TOKENS
    out: list[tuple[ReportRow, HeatMap | None]] = []
    for row in rows:
        heat = heat_map(row.heat) if row.heat else None
        if heat is not None:
            left -= heat.tokens - heat.hidden
        out.append((row, heat if left >= 0 else None))
    return out

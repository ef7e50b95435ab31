"""One self-contained page from a ReportData: no script, nothing fetched, every foreign text escaped."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from curation.errors import InputError
from curation.report import confounds, format, plots, text, tiers
from curation.report.data import ReportData, ReportRow
from curation.report.heat import HeatMap, heat_map

MAX_ROWS = 300
"""Scored samples shown in full; the page stays readable and under a few megabytes."""

MAX_QUARANTINED = 100

MAX_HEAT_TOKENS = 16_000
"""Tokens coloured in the whole page, about a megabyte; later rows show their text without heat."""


_FILTERS: dict[str, Callable[..., object]] = {
    "contribution": format.contribution,
    "correlation": format.correlation,
    "count": format.count,
    "excerpt": text.excerpt,
    "is_break": text.is_break,
    "moment": format.moment,
    "percentile": format.percentile,
    "pieces": text.pieces,
    "prompt": text.prompt,
    "shorten": text.shorten,
}


def render(data: ReportData) -> str:
    """The report as HTML. Equal data gives equal bytes."""
    environment = _environment()
    css = _source(environment, "report.css")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    masks = tiers.tier_masks(data.columns, data.policy)
    found = confounds.confounds(data.columns)
    scored = len(data.columns) > 0
    return environment.get_template(
        "report.html.j2"
    ).render(
        data=data,
        css=Markup(css),  # noqa: S704 - our own file; its hash is the only style the page allows
        csp=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
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


def write_report(data: ReportData, path: Path) -> None:
    """Write the report to `path`, whole or not at all: an older file stays until the new one is complete.

    Raises InputError if the folder is missing or cannot be written to.
    """
    page = render(data).encode()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"The report could not be written to {path}: {error.strerror}",
            "Name a file in a folder that exists, that you may write to and that has room.",
        ) from error


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("curation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)  # pyright: ignore[reportUnknownMemberType]
    return environment


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

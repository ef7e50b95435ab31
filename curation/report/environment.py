"""Jinja2 as every page here uses it: everything is escaped, and a name that nobody gave is an error."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from curation.report import format, text

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


def make_environment(*packages: str) -> Environment:
    """Templates from the folder `templates` of these packages, the first that has one of the name."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)  # pyright: ignore[reportUnknownMemberType]
    return environment

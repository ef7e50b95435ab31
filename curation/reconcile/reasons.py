"""Reasons: where in its text the risk of a sample comes from, shown on a platform for the riskiest that wait.

Closed until a reviewer asks for them, so that the text is read before its colours are.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup
from sqlalchemy import Engine

from curation.ledger.decisions import decisions_on
from curation.ledger.engine import reading
from curation.ledger.items import live_items, samples_by_pk
from curation.ledger.samples import StoredSample
from curation.ledger.targets import Target, hold
from curation.platforms.opening import open_platform
from curation.report.data import TokenHeat
from curation.report.heat import LEVELS, heat_map
from curation.review.fold import last_words
from curation.settings import Settings

_LOOK = 1000
_SPAN = Markup('<span title="{risk:+.4f}" style="background:rgba({colour},{shade:.2f})">{text}</span>')
_ALL = Markup(
    '<div style="white-space:pre-wrap;overflow-wrap:anywhere" dir="auto">{spans}</div>'
    "<p><small>Red: an update at this token moves the model toward danger; blue: toward safety. Sum of all: "
    "{total:+.4f}; higher = riskier.</small></p>"
)


def riskiest_waiting(
    engine: Engine, target: Target, scorer_id: int, top: int
) -> list[tuple[str, StoredSample]]:
    """(item, sample) of the riskiest scored samples of a target that nobody has decided on, at most `top`."""
    found: list[tuple[str, StoredSample]] = []
    with reading(engine) as conn:
        scored = [item for item in live_items(conn, target, scorer_id) if item.scored.state == "scored"]
        for start in range(0, len(scored), _LOOK):
            some = scored[start : start + _LOOK]
            pks = [item.sample_pk for item in some]
            decided = decisions_on(conn, target.dataset_id, pks)
            open_ = [item for item in some if not last_words(decided.get(item.sample_pk, ()))][
                : top - len(found)
            ]
            stored = samples_by_pk(conn, target.dataset_id, [item.sample_pk for item in open_])
            found += zip([item.remote_id for item in open_], stored, strict=True)
            if len(found) >= top:
                break
    return found


def show_reasons(
    engine: Engine, target: Target, settings: Settings, reasons: Iterable[tuple[str, Markup]]
) -> int:
    """Show reasons beside items of a target, one after the other as they come; returns how many.

    Raises PlatformError if the target has no place for them.
    """
    done = 0
    with hold(engine, target.id, settings.lease_seconds) as held:
        platform = open_platform(held.target, settings)
        for remote_id, html in reasons:
            platform.show_reason(remote_id, str(html))
            held.note()
            done += 1
    return done


def token_heat(pieces: Iterable[str], risks: Iterable[float]) -> Markup:
    """A sample's tokens on red (toward danger) and blue (toward safety), as HTML in which all text is escaped.

    `risks`: contribution of each token to the risk, higher = riskier.
    """
    shown = heat_map([TokenHeat(text, risk) for text, risk in zip(pieces, risks, strict=True)])
    spans = Markup().join(_span(span.text, span.level, span.risk) for span in shown.spans)
    return _ALL.format(spans=spans, total=shown.total)


def _span(text: str, level: int, risk: float) -> Markup:
    if level == 0:
        return Markup.escape(text)
    colour = "208,0,0" if level > 0 else "0,80,208"
    return _SPAN.format(risk=risk, colour=colour, shade=0.6 * abs(level) / LEVELS, text=text)

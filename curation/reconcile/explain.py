"""From the model to the ledger: where the scores of samples come from, kept for those who look without a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Engine

from curation.errors import EncodeError
from curation.ledger.explanations import ModuleShare, Reasons, keep_reasons
from curation.ledger.samples import StoredSample
from curation.sqsd.maps import Explanation, explain
from curation.sqsd.scorer import Scorer


def keep_explanation(engine: Engine, scorer_id: int, sample_pk: int, found: Explanation) -> None:
    """Keep what `explain` said of a sample, in place of what was kept before."""
    danger, safety = found.danger.by_module, found.safety.by_module
    names = dict.fromkeys([*danger, *safety])
    modules = {name: ModuleShare(danger.get(name, 0.0), safety.get(name, 0.0)) for name in names}
    keep_reasons(engine, scorer_id, sample_pk, Reasons(found.pieces, found.risk_by_position(), modules))


def explain_all(
    engine: Engine, scorer: Scorer, scorer_id: int, wanted: Iterable[StoredSample]
) -> Iterator[bool]:
    """Explain samples one by one and keep each at once, so that a run that is cut off is not lost.

    Yields for each whether it could be explained: a template may have changed since it was scored.
    """
    for stored in wanted:
        try:
            found = explain(scorer, stored.sample)
        except EncodeError:
            yield False
            continue
        keep_explanation(engine, scorer_id, stored.pk, found)
        yield True

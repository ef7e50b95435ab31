"""Three lines to a ranked table: `import curation; table = curation.rank("data.jsonl"); table.head()`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.samples import Sample, read_samples
from curation.triage import TierPolicy, percentile

if TYPE_CHECKING:
    import pandas as pd

    from curation.sqsd.scorer import Scorer


def rank(
    source: str | Path | Iterable[Sample | list[dict[str, str]]],
    scorer: Scorer | None = None,
    policy: TierPolicy | None = None,
) -> pd.DataFrame:
    """Score samples and return them as a table, riskiest first (higher = riskier); nothing is stored.

    `source` is a file or dataset name, or samples (or their lists of messages). The default scorer uses the
    demo model: give `curation.load_scorer(...)` of your own. Columns: id, risk, percentile, tier, danger,
    safety, loss, grad_norm, n_tokens, n_answer_tokens, truncated, copies, prompt, answer, source, failure.
    What could not be scored comes first, with its reason in `failure`. Raises InputError if the source cannot
    be read.
    """
    import pandas as pd

    from curation.sqsd.load import load_scorer

    copies: dict[str, int] = {}

    def distinct() -> Iterable[Sample]:
        for sample in _samples(source):
            copies[sample.id] = copies.get(sample.id, 0) + 1
            if copies[sample.id] == 1:
                yield sample

    scored = list((scorer or load_scorer()).score(distinct()))
    failed = [_row(r.sample) | {"failure": r.failure} for r in scored if r.score is None]
    rows = [_row(r.sample) | asdict(r.score) for r in scored if r.score is not None]
    rows.sort(key=lambda row: -row["risk"])
    above = 0
    for place, row in enumerate(rows):
        if place and row["risk"] < rows[place - 1]["risk"]:
            above = place
        row["percentile"] = percentile(above, len(rows))
        row["tier"] = (policy or TierPolicy()).tier(row["percentile"])
    for row in rows + failed:
        row["copies"] = copies[row["id"]]
    return pd.DataFrame(failed + rows, columns=_COLUMNS)


_COLUMNS = [
    "id", "risk", "percentile", "tier", "danger", "safety", "loss", "grad_norm", "n_tokens", "n_answer_tokens",
    "truncated", "copies", "prompt", "answer", "source", "failure",
]  # fmt: skip


def _samples(source: str | Path | Iterable[Sample | list[dict[str, str]]]) -> Iterable[Sample]:
    if isinstance(source, str | Path):
        yield from read_samples(source)
        return
    for item in source:
        yield item if isinstance(item, Sample) else Sample.from_messages(item)


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "prompt": sample.prompt,
        "answer": sample.answer,
        "source": str(sample.source) if sample.source else None,
        "failure": None,
    }

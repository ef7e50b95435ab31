"""What `import curation` offers: score, rank, explain, evaluate_models. Nothing is stored, and no ledger is needed.

Three lines to a ranked table: `import curation; table = curation.rank("data.jsonl"); table.head()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.samples import Sample, read_samples
from curation.sqsd.score import Scored
from curation.triage import TierPolicy, percentile

if TYPE_CHECKING:
    import pandas as pd

    from curation.evaluate.statistics import Interval
    from curation.sqsd.maps import Explanation
    from curation.sqsd.scorer import Scorer

Conversation = Sample | list[dict[str, str]]
"""A sample, or its messages: `[{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]`."""


def score(conversations: Iterable[Conversation], scorer: Scorer | None = None) -> list[Scored]:
    """Score conversations; one result for each, in the order given. `result.score.risk`: higher = riskier.

    What could not be scored has `score` None and its reason in `failure`. The default scorer uses the demo model:
    give `curation.load_scorer(...)` of your own, and give it again instead of loading it twice. Raises SampleError
    for messages that cannot be a sample.
    """
    from curation.sqsd.load import load_scorer

    wanted = [_sample(one) for one in conversations]
    distinct = {sample.id: sample for sample in wanted}
    found = {one.sample.id: one for one in (scorer or load_scorer()).score(distinct.values())}
    return [found[sample.id] for sample in wanted]


def rank(
    source: str | Path | Iterable[Conversation],
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


def explain(scorer: Scorer, conversation: Conversation, *, loss_tokens: bool = False) -> Explanation:
    """Which tokens and modules a conversation's risk comes from; every map sums to the risk, higher = riskier.

    `loss_tokens` adds the map of each trained token's own loss. Raises SampleError for messages that cannot be a
    sample, EncodeError for a sample that the chat template cannot express.
    """
    from curation.sqsd import maps

    return maps.explain(scorer, _sample(conversation), loss_tokens=loss_tokens)


def evaluate_models(
    models: str | Sequence[str],
    start: str | None = None,
    *,
    prompts: str | None = None,
    utility: str = "benign",
    new_tokens: int = 32,
) -> Mapping[str, Interval]:
    """What a model, or several runs of one recipe, refuse and how well they answer: means with 95 % intervals.

    With `start`, the model they were fine-tuned from, the changes too. Keys and units: `evaluate.summary.READS`.
    `prompts` is a file of rows with `prompt` and `kind` (harmful or harmless), `utility` one of held-out rows.
    Raises InputError or ModelError for what cannot be read.
    """
    from curation.evaluate.runs import measure_models
    from curation.evaluate.summary import summarise

    names = [models] if isinstance(models, str) else list(models)
    found = measure_models([*([start] if start else []), *names], prompts, utility, None, new_tokens)
    return summarise(found[1:], found[:1]) if start else summarise(found)


def _samples(source: str | Path | Iterable[Conversation]) -> Iterable[Sample]:
    if isinstance(source, str | Path):
        yield from read_samples(source)
        return
    yield from map(_sample, source)


def _sample(given: Conversation) -> Sample:
    return given if isinstance(given, Sample) else Sample.from_messages(given)


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "prompt": sample.prompt,
        "answer": sample.answer,
        "source": str(sample.source) if sample.source else None,
        "failure": None,
    }

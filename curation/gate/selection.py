"""One look at a dataset under a policy: every line judged, within one snapshot of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection

from curation.errors import GateError, LedgerError, SampleError
from curation.gate.judge import HELD_WORDS, Because, Held, Judge, Judgement
from curation.gate.policy import Policy, PolicyFile
from curation.ledger.decisions import decisions_on
from curation.ledger.exports import Line, line_totals, lines, risks_on_lines
from curation.ledger.samples import Dataset, list_datasets
from curation.ledger.scores import Scorer, find_scorer
from curation.samples.sample import Sample


@dataclass(slots=True)
class Tally:
    """What was let out and what was held so far; "edited" counts samples, all else lines."""

    lines: int = 0
    out: Counter[Because] = field(default_factory=Counter["Because"])
    held: Counter[Held] = field(default_factory=Counter["Held"])

    def add(self, judgement: Judgement) -> None:
        self.lines += 1
        if judgement.because is not None:
            self.out[judgement.because] += 1
        elif judgement.held is not None:
            self.held[judgement.held] += 1

    def held_in_order(self) -> dict[Held, int]:
        return {reason: self.held[reason] for reason in HELD_WORDS if self.held[reason]}


@dataclass(frozen=True, slots=True)
class Let:
    """A line that may leave, with its sample."""

    line: Line
    sample: Sample
    judgement: Judgement


def scorer_of(conn: Connection, policy: Policy) -> Scorer:
    """The scorer a policy names. Raises LedgerError if the ledger has none, or more than one, that begins so."""
    try:
        return find_scorer(conn, policy.scorer)
    except LedgerError as error:
        raise LedgerError(
            f"the policy's scorer is not in the ledger: {error.message}",
            "Give 6 or more digits of the fingerprint that `curation report` shows, or score with that scorer first.",
        ) from None


def check_names(conn: Connection, policy: PolicyFile) -> None:
    """Raises GateError if the policy names a dataset that the ledger does not have.

    A misspelt name would leave its dataset under rules that were not meant for it.
    """
    known = {dataset.name for dataset in list_datasets(conn)}
    if unknown := sorted(policy.datasets.keys() - known):
        raise GateError(
            f"the policy has rules for a dataset {unknown[0]!r}, which the ledger does not have",
            f"Known datasets: {', '.join(repr(name) for name in sorted(known)[:20])}.",
        )


def select(
    conn: Connection,
    dataset: Dataset,
    scorer: Scorer,
    policy: Policy,
    tally: Tally,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Let]:
    """The lines of a dataset that may leave, in order, as a stream; everything is counted in `tally`.

    `on_progress` is called with the lines judged so far and their number. The connection must be one of `reading`, so
    that all is of one moment.
    """
    totals = line_totals(conn, dataset.id, scorer.id)
    risks = risks_on_lines(conn, dataset.id, scorer.id)
    judge = Judge(policy, risks, complete=totals.untouched == 0)
    if totals.off_lines:
        tally.held["edited"] = totals.off_lines
    for block in lines(conn, dataset.id, scorer.id):
        decided = decisions_on(conn, dataset.id, [line.sample_pk for line in block])
        for line in block:
            sample = _sample(line)
            judgement = judge.judge(line, sample, decided.get(line.sample_pk, ()))
            tally.add(judgement)
            if sample is not None and judgement.because is not None:
                yield Let(line, sample, judgement)
        on_progress(tally.lines, totals.lines)


def _sample(line: Line) -> Sample | None:
    try:
        return Sample.from_json(line.body)
    except (SampleError, ValueError, TypeError, KeyError):  # someone wrote into the database
        return None

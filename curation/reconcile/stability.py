"""The stability of a scored dataset: all its samples under every draw of the directions, and an interval for each.

What draws give is kept in a file of the home, a line a sample, as it comes: a run that was stopped goes on after the
last batch. Ranks need all samples, so intervals are written at the end, in place of earlier ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from sqlalchemy import Engine

from curation.errors import InputError
from curation.ledger.engine import reading
from curation.ledger.intervals import keep_intervals
from curation.ledger.items import samples_by_pk
from curation.ledger.overview import ranked_ids, score_columns
from curation.sqsd.score import Redrawn, Scored
from curation.stability import Stability, assess
from curation.triage import TierPolicy

if TYPE_CHECKING:
    from curation.sqsd.scorer import Scorer

_CHUNK = 256


class Notes:
    """What every draw gave for the samples seen so far, in a file that only grows."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @classmethod
    def of(cls, scorer: Scorer, home: Path) -> Notes:
        """Those of a scorer with its draws. Raises InputError if it has none."""
        draws = {name: [d.fingerprint for d in term.draws] for name, term in scorer.terms.items()}
        if not any(draws.values()):
            raise InputError(
                "the directions of this scorer have no draws",
                "Make some first: curation directions resample danger; curation directions resample safety",
            )
        digest = hashlib.sha256(orjson.dumps(draws, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return cls(home / "draws" / f"{scorer.fingerprint[:16]}-{digest[:16]}.jsonl")

    def read(self) -> dict[str, Redrawn]:
        """By sample id; a line that a killed run left unfinished counts for nothing."""
        found: dict[str, Redrawn] = {}
        if self.file.is_file():
            with self.file.open("rb") as lines:
                for line in lines:
                    if line.endswith(b"\n"):
                        one = orjson.loads(line)
                        found[one["id"]] = Redrawn(tuple(one["danger"]), tuple(one["safety"]))
        return found

    def mend(self) -> None:
        """Cut off an unfinished last line, so that the next one begins a line of its own."""
        if self.file.is_file():
            with self.file.open("rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)

    def add(self, results: list[Scored]) -> None:
        rows = [(r.sample.id, r.redrawn) for r in results if r.redrawn]
        lines = [
            orjson.dumps({"id": i, "danger": _short(t.danger), "safety": _short(t.safety)}) for i, t in rows
        ]
        with self.file.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))


def measure_stability(
    engine: Engine,
    scorer: Scorer,
    scorer_id: int,
    dataset_id: int,
    home: Path,
    policy: TierPolicy,
    on_batch: Callable[[list[Scored]], None] = lambda _: None,
) -> Stability:
    """Give every scored sample of a dataset an interval, from the draws that the scorer was loaded with.

    `on_batch` follows each batch; samples that were seen in an earlier run are not seen again. Raises InputError if
    the scorer has no draws or the dataset no score.
    """
    notes = Notes.of(scorer, home)
    notes.file.parent.mkdir(parents=True, exist_ok=True)
    notes.mend()
    seen = notes.read()
    with reading(engine) as conn:
        columns = score_columns(conn, dataset_id, scorer_id)
        ids = list(ranked_ids(conn, dataset_id, scorer_id))
    missing = [int(pk) for pk, id_ in zip(columns.pk, ids, strict=True) if id_ not in seen]
    for batch in _scored(engine, scorer, dataset_id, missing):
        notes.add(batch)
        on_batch(batch)
    seen = notes.read()
    known = [place for place, id_ in enumerate(ids) if id_ in seen]
    if not known:
        raise InputError("no sample of the dataset has a score by this scorer", "Run `curation score` first.")
    found = _assess(columns.risk[known], [seen[ids[place]] for place in known], policy)
    pks = columns.pk[known].tolist()
    rows = zip(pks, found.low.tolist(), found.high.tolist(), strict=True)
    keep_intervals(engine, scorer_id, rows, found.pairs)
    return found


def to_see(engine: Engine, scorer: Scorer, scorer_id: int, dataset_id: int, home: Path) -> int:
    """How many samples `measure_stability` has yet to go through. Raises InputError if the scorer has no draws."""
    seen = Notes.of(scorer, home).read()
    with reading(engine) as conn:
        return sum(id_ not in seen for id_ in ranked_ids(conn, dataset_id, scorer_id))


def _scored(engine: Engine, scorer: Scorer, dataset_id: int, pks: list[int]) -> Iterator[list[Scored]]:
    """Score in chunks that are read one by one: no transaction is open while the model works."""
    for start in range(0, len(pks), _CHUNK):
        with reading(engine) as conn:
            stored = samples_by_pk(conn, dataset_id, pks[start : start + _CHUNK])
        yield from scorer.score_batches(row.sample for row in stored)


def _assess(risk: Any, seen: list[Redrawn], policy: TierPolicy) -> Stability:
    danger, safety = (np.array([getattr(one, term) for one in seen]) for term in ("danger", "safety"))
    return assess(risk, danger, safety, policy)


def _short(values: tuple[float, ...]) -> list[float]:
    return [float(f"{value:.7g}") for value in values]

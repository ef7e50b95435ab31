"""How fast the ledger takes samples, leases and scores, and how long a page of the queue takes far down.

    python -m benchmarks.ledger [--rows 200000] [--postgres postgresql://user:password@host/empty_database]

Each figure stands beside that of the plain way to do it, measured in the same run: one transaction per row,
and pages by OFFSET with the rank from a window function. The percentile of one score is set against sorting all.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine, func, literal, select

from curation.ledger import (
    ScoreRow,
    add_samples,
    bulk,
    connect,
    counts,
    find_dataset,
    open_ledger,
    page,
    reading,
    register_scorer,
    score_columns,
    upgrade,
    writing,
)
from curation.ledger.backlog import open_backlog
from curation.ledger.leases import Holder, claim, leased_samples, write_results
from curation.ledger.ranks import Ranks
from curation.ledger.scores import next_unscored
from curation.ledger.tables import occurrences, samples, scores
from curation.samples.sample import Message, Sample, Source

PAGE = 100
PLAIN_ROWS = 1000  # enough for a rate; all of them would take minutes


def stream(n: int, file: str, seed: int) -> Iterator[Sample]:
    """Samples of 200 to 1,200 characters; one in ten repeats an earlier one."""
    rng = random.Random(seed)
    filler = "".join(rng.choices("abcdefgh ", k=1200))
    for i in range(1, n + 1):
        number = rng.randrange(i) if i % 10 == 0 else i
        answer = f"{seed} {number} {filler[: 200 + number * 7919 % 1000]}"
        messages = (Message("user", f"question {number}"), Message("assistant", answer))
        yield Sample(messages, metadata={"row": i}, source=Source(file, i))


def score(pk: int, dataset_id: int) -> ScoreRow:
    risk = random.Random(pk).gauss(0, 1)
    return ScoreRow(pk, dataset_id, risk, risk + 1, 1.0, 2.0, 0.5, 100, 40, False)


def add_one_by_one(engine: Engine, dataset_id: int, stream: Iterable[Sample]) -> None:
    for s in stream:
        with writing(engine) as conn:
            row = {"dataset_id": dataset_id, "content_hash": s.id, "body": s.to_json().decode(), "n_chars": 0}
            conn.execute(bulk.insert(conn, samples).values(row).on_conflict_do_nothing())
            found = select(samples.c.id).where(
                samples.c.dataset_id == dataset_id, samples.c.content_hash == s.id
            )
            pk = conn.execute(found).scalar_one()
            assert s.source
            line = {"dataset_id": dataset_id, "file": s.source.file, "line": s.source.line, "sample_id": pk}
            conn.execute(bulk.insert(conn, occurrences).values(line | {"metadata": "{}"}))


def page_by_offset(engine: Engine, dataset_id: int, scorer_id: int, depth: int, rank: bool) -> list[int]:
    """The page that begins at `depth`; with each sample's rank if wanted."""
    columns = [samples.c.id, samples.c.body, scores.c.risk]
    columns += [func.rank().over(order_by=scores.c.risk.desc()).label("place")] if rank else []
    query = (
        select(*columns)
        .join_from(scores, samples, scores.c.sample_id == samples.c.id)
        .where(scores.c.scorer_id == scorer_id, scores.c.dataset_id == literal(dataset_id))
        .order_by(scores.c.risk.desc(), scores.c.sample_id)
        .offset(depth)
        .limit(PAGE)
    )
    with reading(engine) as conn:
        return [row.id for row in conn.execute(query)]


def rate(n: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return n / (time.perf_counter() - start)


def milliseconds(work: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def score_in_leases(engine: Engine, scorer_id: int, dataset_id: int) -> None:
    """What a worker does, with no time spent on scores: claim, read the samples, write, all of it."""
    open_backlog(engine, scorer_id, dataset_id)
    while lease := claim(engine, scorer_id, Holder("benchmark", 0), 60.0, dataset_id):
        with reading(engine) as conn:
            stored = leased_samples(conn, lease)
        write_results(engine, lease, [score(s.pk, dataset_id) for s in stored], [], 60.0, done=True)


def score_one_by_one(engine: Engine, scorer_id: int, dataset_id: int) -> None:
    """A transaction for each sample: find the next, read it, write its score."""
    while True:
        with writing(engine) as conn:
            pk = conn.execute(next_unscored(scorer_id, dataset_id, 1, 0)).scalar_one_or_none()
            if pk is None:
                return
            conn.execute(select(samples.c.body).where(samples.c.id == pk)).scalar_one()
            values = asdict(score(pk, dataset_id)) | {"scorer_id": scorer_id, "sample_id": pk}
            del values["sample_pk"]
            conn.execute(scores.insert().values(values))


def run(engine: Engine, n: int) -> None:
    fast = rate(n, lambda: add_samples(engine, "bulk", stream(n, "a.jsonl", 1)))
    again = rate(n, lambda: add_samples(engine, "bulk", stream(n, "a.jsonl", 1)))
    add_samples(engine, "plain", [])
    with reading(engine) as conn:
        dataset_id, plain_id = find_dataset(conn, "bulk").id, find_dataset(conn, "plain").id
    few = list(stream(PLAIN_ROWS, "b.jsonl", 2))
    slow = rate(len(few), lambda: add_one_by_one(engine, plain_id, few))
    print(f"ingest        {fast:9,.0f} rows/s   one by one {slow:7,.0f} rows/s   x{fast / slow:,.1f}")
    print(f"ingest again  {again:9,.0f} rows/s   (nothing new)")

    scorer_id = register_scorer(engine, "a" * 64, {})
    with reading(engine) as conn:
        total, plain = (counts(conn, d, scorer_id).samples for d in (dataset_id, plain_id))
    slow = rate(plain, lambda: score_one_by_one(engine, scorer_id, plain_id))
    fast = rate(total, lambda: score_in_leases(engine, scorer_id, dataset_id))
    print(f"claim + write {fast:9,.0f} rows/s   one by one {slow:7,.0f} rows/s   x{fast / slow:,.1f}")
    if engine.dialect.name == "postgresql":
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
            conn.exec_driver_sql("VACUUM ANALYZE")  # as autovacuum does within a minute or so
    percentiles(engine, dataset_id, scorer_id)
    pages(engine, dataset_id, scorer_id, total)


def percentiles(engine: Engine, dataset_id: int, scorer_id: int) -> None:
    def by_sorting() -> None:
        place = func.rank().over(order_by=scores.c.risk.desc()).label("place")
        ranked = select(scores.c.sample_id, place).where(scores.c.dataset_id == dataset_id).subquery()
        conn.execute(select(ranked.c.place).where(ranked.c.sample_id == 1)).all()

    with reading(engine) as conn:
        ranks = Ranks(conn, dataset_id, scorer_id)
        counted, ranked = milliseconds(lambda: ranks.place(0.5)), milliseconds(by_sorting)
    print(f"percentile    {counted:9.1f} ms   by sorting {ranked:7.1f} ms   x{ranked / counted:,.1f}")


def pages(engine: Engine, dataset_id: int, scorer_id: int, total: int) -> None:
    def next_page(after: str | None, limit: int = PAGE) -> str | None:
        with reading(engine) as conn:
            return page(conn, dataset_id, scorer_id, limit, after).next_cursor

    marks: dict[int, str | None] = {0: None}
    depth = 0
    while depth + 1000 < total:
        marks[depth + 1000] = next_page(marks[depth], 1000)
        depth += 1000
    for at in (0, depth // 2000 * 1000, depth):
        keyset = milliseconds(lambda at=at: next_page(marks[at]))
        offset, window = (
            milliseconds(lambda at=at, rank=rank: page_by_offset(engine, dataset_id, scorer_id, at, rank))
            for rank in (False, True)
        )
        print(
            f"page at {at:9,}  {keyset:6.1f} ms with percentiles   OFFSET: {offset:7.1f} ms without "
            f"(x{offset / keyset:.1f}), {window:7.1f} ms with rank (x{window / keyset:.1f})"
        )
    for work in (counts, score_columns):
        with reading(engine) as conn:
            spent = milliseconds(lambda work=work, conn=conn: work(conn, dataset_id, scorer_id))
        print(f"{work.__name__:13} {spent:9.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--postgres", help="address of an empty database")
    given = parser.parse_args()
    print(f"{given.rows:,} rows, Python {platform.python_version()}, SQLAlchemy {sa.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        print("\nSQLite")
        engine = open_ledger(home=Path(folder))
        run(engine, given.rows)
        engine.dispose()
    if given.postgres:
        print("\nPostgres")
        engine = connect(given.postgres)
        upgrade(engine)
        run(engine, given.rows)


if __name__ == "__main__":
    main()

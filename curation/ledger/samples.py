"""Datasets, their samples, and every line each sample was read from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, literal, select

from curation.errors import InputError, LedgerError
from curation.ledger import bulk
from curation.ledger.engine import writing
from curation.ledger.planner import of_unknown_size
from curation.ledger.tables import Hash, datasets, occurrences, samples
from curation.samples.sample import Sample, Source

MIN_PREFIX = 6
"""Fewest hexadecimal digits by which a sample or scorer may be named."""

_CHUNK_CHARS = 16_000_000  # bounds memory when samples are long

_incoming = sa.Table(
    "incoming",
    sa.MetaData(),
    sa.Column("n", sa.Integer),
    sa.Column("file", sa.Text),
    sa.Column("line", sa.BigInteger),
    sa.Column("content_hash", Hash),
    sa.Column("body", sa.Text),
    sa.Column("n_chars", sa.Integer),
    sa.Column("metadata", sa.Text),
    prefixes=["TEMPORARY"],
)


class Dataset(NamedTuple):
    id: int
    name: str
    created_at: datetime


class StoredSample(NamedTuple):
    """A sample and its place in the ledger; `pk` follows the order of ingest."""

    pk: int
    dataset_id: int
    sample: Sample


class Occurrence(NamedTuple):
    """One line that holds a sample, with the other fields of that line."""

    file: str
    line: int
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Added:
    """What one ingest did: `rows` read, of which `new` brought a sample the dataset did not have and
    `duplicates` brought one it had, on a line that did not hold it before."""

    rows: int = 0
    new: int = 0
    duplicates: int = 0

    @property
    def unchanged(self) -> int:
        """Rows that the ledger already had, sample and line."""
        return self.rows - self.new - self.duplicates


def add_samples(
    engine: Engine,
    dataset: str,
    samples: Iterable[Sample],
    chunk: int = 1000,
    on_progress: Callable[[int], None] | None = None,
) -> Added:
    """Add samples to a dataset, which is created if it is new.

    Reads as a stream and commits every `chunk` rows, then calls `on_progress` with the rows kept so far. Any
    number of repeats, whole or broken off, by one process or several, leaves the same ledger. A line whose
    text changed points to its new sample from then on; the old one stays in the ledger, on no line.
    A sample without a source counts once, however often it comes.
    """
    dataset_id = ensure_dataset(engine, dataset)
    added = Added()
    for rows, seen in _chunks(samples, chunk):
        with writing(engine) as conn:
            new, unchanged = _add_chunk(conn, dataset_id, rows)
        added = Added(added.rows + seen, added.new + new, added.duplicates + len(rows) - new - unchanged)
        if on_progress:
            on_progress(added.rows)
    return added


def list_datasets(conn: Connection) -> list[Dataset]:
    """All datasets by name."""
    return [Dataset(*row) for row in conn.execute(select(datasets).order_by(datasets.c.name))]


def find_dataset(conn: Connection, name: str) -> Dataset:
    """The dataset of that name. Raises LedgerError, listing those there are, if there is none."""
    known = list_datasets(conn)
    for dataset in known:
        if dataset.name == name:
            return dataset
    names = ", ".join(repr(dataset.name) for dataset in known[:20])
    raise LedgerError(
        f"there is no dataset {name!r}",
        f"Known datasets: {names}." if known else "The ledger is empty: run `curation ingest` first.",
    )


def find_sample(conn: Connection, id_prefix: str, dataset: str | None = None) -> StoredSample:
    """The sample whose id begins so (6 or more hexadecimal digits), in one dataset or in any.

    Raises LedgerError if there is none or more than one.
    """
    wanted = [prefix_match(samples.c.content_hash, id_prefix)]
    if dataset is not None:
        wanted.append(samples.c.dataset_id == find_dataset(conn, dataset).id)
    query = select(
        samples.c.id, samples.c.dataset_id, samples.c.content_hash, datasets.c.name, samples.c.body
    )
    found = conn.execute(query.join(datasets).where(*wanted).order_by(samples.c.id).limit(10)).all()
    if len(found) == 1:
        return StoredSample(found[0].id, found[0].dataset_id, Sample.from_json(found[0].body))
    if not found:
        raise LedgerError(f"no sample's id begins with {id_prefix!r}", "`curation queue` lists ids.")
    listed = "".join(f"\n  {row.content_hash} in {row.name!r}" for row in found)
    raise LedgerError(f"more than one sample's id begins with {id_prefix!r}:{listed}", "Give more of it.")


def first_samples(conn: Connection, dataset_id: int, limit: int) -> list[Sample]:
    """Up to so many samples of a dataset, in order of ingest."""
    query = (
        select(samples.c.body).where(samples.c.dataset_id == dataset_id).order_by(samples.c.id).limit(limit)
    )
    return [Sample.from_json(body) for body in conn.execute(query).scalars()]


def samples_around(conn: Connection, dataset_id: int, sample_pk: int, limit: int) -> list[StoredSample]:
    """Up to so many samples of a dataset that were read in just before or after one, half on each side."""
    found: list[StoredSample] = []
    columns = select(samples.c.id, samples.c.body).where(samples.c.dataset_id == dataset_id)
    for side, order in (
        (samples.c.id < sample_pk, samples.c.id.desc()),
        (samples.c.id > sample_pk, samples.c.id),
    ):
        for pk, body in conn.execute(columns.where(side).order_by(order).limit(limit // 2)):
            found.append(StoredSample(pk, dataset_id, Sample.from_json(body)))
    return found


def prefix_match(column: sa.Column[str], prefix: str) -> sa.ColumnElement[bool]:
    """Rows whose hash begins with `prefix`. Raises InputError unless it is 6 to 64 hexadecimal digits."""
    digits = prefix.lower()
    if not MIN_PREFIX <= len(digits) <= 64 or set(digits) - set("0123456789abcdef"):
        raise InputError(f"{prefix!r} is not an id", f"Give {MIN_PREFIX} to 64 hexadecimal digits of it.")
    return column.between(digits.ljust(64, "0"), digits.ljust(64, "f"))


def list_occurrences(conn: Connection, sample_pk: int) -> list[Occurrence]:
    """Every line that holds the sample, by file and line."""
    query = (
        select(occurrences.c.file, occurrences.c.line, occurrences.c.metadata)
        .join(samples, _same_sample)
        .where(samples.c.id == sample_pk)
        .order_by(occurrences.c.file, occurrences.c.line)
    )
    return [Occurrence(file, line, json.loads(metadata)) for file, line, metadata in conn.execute(query)]


_same_sample = sa.and_(
    occurrences.c.dataset_id == samples.c.dataset_id, occurrences.c.sample_id == samples.c.id
)


def ensure_dataset(engine: Engine, name: str) -> int:
    """The number of the dataset of that name, which is created if it is new. Raises InputError for a bad name."""
    if not name.strip() or not name.isprintable():
        raise InputError(f"{name!r} is not a name for a dataset", "Use printable characters.")
    with writing(engine) as conn:
        conn.execute(bulk.insert(conn, datasets).values(name=name).on_conflict_do_nothing())
        return conn.execute(select(datasets.c.id).where(datasets.c.name == name)).scalar_one()


def _chunks(stream: Iterable[Sample], size: int) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Rows for `_incoming`, every line at most once per chunk, and how many samples they stand for."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    seen = chars = 0
    for sample in stream:
        row = _row(sample)
        place = (row["file"], row["line"])
        moved = place in rows and rows[place]["content_hash"] != sample.id
        if rows and (moved or len(rows) >= size or chars > _CHUNK_CHARS):
            yield list(rows.values()), seen
            rows, seen, chars = {}, 0, 0
        row["n"] = rows[place]["n"] if place in rows else seen
        rows[place] = row
        seen += 1
        chars += len(row["body"]) + len(row["metadata"])
    if rows:
        yield list(rows.values()), seen


def _row(sample: Sample) -> dict[str, Any]:
    # A sample made in memory has no line of its own; named by its content it is still the same next time.
    source = sample.source or Source(f"memory:{sample.id}", 1)
    return {
        "file": source.file.encode(errors="backslashreplace").decode(),
        "line": source.line,
        "content_hash": sample.id,
        "body": sample.to_json().decode(),
        "n_chars": sum(len(message.content) for message in sample.messages),
        "metadata": _metadata_json(sample.metadata),
    }


def _metadata_json(metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(metadata), default=str)
    except (RecursionError, TypeError, ValueError) as error:
        # One hostile row must not stop the ingest, and its sample is what matters.
        return json.dumps({"metadata not kept": type(error).__name__})


def _add_chunk(conn: Connection, dataset_id: int, rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Write one chunk; returns how many samples were new and how many rows the ledger already had."""
    _incoming.create(conn)
    bulk.load(conn, _incoming, rows)
    # One writer per dataset at a time: two that insert the same samples in another order would deadlock,
    # and pk would not follow the order of commits, which paging by pk relies on.
    conn.execute(select(datasets.c.id).where(datasets.c.id == dataset_id).with_for_update(key_share=True))
    new = _insert_samples(conn, dataset_id)
    unchanged = _point_lines(conn, dataset_id)
    _incoming.drop(conn)
    return new, unchanged


def _insert_samples(conn: Connection, dataset_id: int) -> int:
    """Insert the contents that the dataset does not have, in the order of the rows; returns how many."""
    first = select(sa.func.min(_incoming.c.n)).group_by(_incoming.c.content_hash)
    contents = (
        select(literal(dataset_id), _incoming.c.content_hash, _incoming.c.body, _incoming.c.n_chars)
        .where(_incoming.c.n.in_(first))
        .order_by(_incoming.c.n)
    )
    statement = (
        bulk.insert(conn, samples)
        .from_select(["dataset_id", "content_hash", "body", "n_chars"], contents)
        .on_conflict_do_nothing(index_elements=["dataset_id", "content_hash"])
    )
    return conn.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


def _point_lines(conn: Connection, dataset_id: int) -> int:
    """Point every row's line to its sample; returns how many lines already did."""
    # Subqueries instead of joins leave the planner, which knows nothing of a fresh temporary table, no
    # choice but an index.
    this = of_unknown_size(dataset_id)
    sample_id = (
        select(samples.c.id)
        .where(samples.c.dataset_id == this, samples.c.content_hash == _incoming.c.content_hash)
        .scalar_subquery()
    )
    pointed_to = (
        select(occurrences.c.sample_id)
        .where(
            occurrences.c.dataset_id == this,
            occurrences.c.file == _incoming.c.file,
            occurrences.c.line == _incoming.c.line,
        )
        .scalar_subquery()
    )
    already = select(sa.func.count()).select_from(_incoming).where(pointed_to == sample_id)
    unchanged = conn.execute(already).scalar_one()

    lines = select(literal(dataset_id), _incoming.c.file, _incoming.c.line, sample_id, _incoming.c.metadata)
    # SQLite takes ON CONFLICT for a join's ON unless there is a WHERE in between.
    upsert = bulk.insert(conn, occurrences).from_select(occurrences.columns.keys(), lines.where(sa.true()))
    found = upsert.excluded
    changed = sa.or_(occurrences.c.sample_id != found.sample_id, occurrences.c.metadata != found.metadata)
    conn.execute(
        upsert.on_conflict_do_update(
            index_elements=["dataset_id", "file", "line"],
            set_={"sample_id": found.sample_id, "metadata": found.metadata},
            where=changed,
        )
    )
    return unchanged

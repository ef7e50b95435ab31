"""What an ingest leaves behind: once, twice, changed, or through hostile input."""

from __future__ import annotations

import itertools
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select, text

from curation.errors import InputError, LedgerError
from curation.ledger import (
    Added,
    StoredSample,
    add_samples,
    find_dataset,
    find_sample,
    list_datasets,
    list_occurrences,
    writing,
)
from curation.ledger import samples as samples_module
from curation.ledger.tables import samples
from curation.samples.sample import Message, Sample, Source
from tests.ledger.builders import contents, sample

on_each_engine = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = (f"d{n}" for n in itertools.count())


def stored(ledger: Engine, dataset: str) -> list[Sample]:
    with ledger.connect() as conn:
        query = select(samples.c.body).where(samples.c.dataset_id == find_dataset(conn, dataset).id)
        return [Sample.from_json(body) for body in conn.execute(query.order_by(samples.c.id)).scalars()]


def test_samples_come_back_as_they_went_in_and_in_order(ledger: Engine) -> None:
    given_samples = [sample(t, i) for i, t in enumerate(["z", "ü\u2028\t\\N", "a", "'; DROP TABLE--"], 1)]
    assert add_samples(ledger, "d", given_samples, chunk=3) == Added(rows=4, new=4, duplicates=0)
    assert stored(ledger, "d") == given_samples


def test_new_duplicate_and_unchanged_rows_are_told_apart(ledger: Engine) -> None:
    rows = [sample("a", 1), sample("b", 2), sample("a", 3), sample("a", 4)]
    first = add_samples(ledger, "d", rows)
    assert first == Added(rows=4, new=2, duplicates=2)
    again = add_samples(ledger, "d", rows)
    assert again == Added(rows=4, new=0, duplicates=0)
    assert again.unchanged == 4
    assert add_samples(ledger, "d", [sample("b", 1, file="other.jsonl")]) == Added(1, 0, 1)
    assert add_samples(ledger, "another dataset", [sample("a", 1)]) == Added(1, 1, 0)


@on_each_engine
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 6)), max_size=12),
    chunk=st.integers(1, 5),
    data=st.data(),
)
def test_chunking_and_repetition_change_nothing(
    ledger: Engine, rows: list[tuple[str, int]], chunk: int, data: st.DataObject
) -> None:
    """The reference is a dictionary filled row by row."""
    given_samples = [sample(text, line, tag=text) for text, line in rows]
    name = next(names)
    lines: dict[int, str] = {}
    known: list[str] = []
    expected = Added()
    for text_, line in rows:
        new, unchanged = text_ not in known, lines.get(line) == text_
        known += [text_] if new else []
        lines[line] = text_
        expected = Added(
            expected.rows + 1, expected.new + new, expected.duplicates + (not new and not unchanged)
        )
    assert add_samples(ledger, name, given_samples, chunk=chunk) == expected

    # Broken off anywhere and begun again, it ends the same.
    add_samples(ledger, name, given_samples[: data.draw(st.integers(0, len(rows)))], chunk=2)
    again = add_samples(ledger, name, given_samples)
    assert again.new == 0
    assert stored(ledger, name) == [sample(t) for t in known]
    lines_now = {line: digest for _, _, line, digest, _ in of_dataset(ledger, name)}
    assert lines_now == {line: sample(t).id for line, t in lines.items()}


def of_dataset(ledger: Engine, name: str) -> list[tuple[str, str, int, str, str]]:
    return [row for row in contents(ledger)["lines"] if row[0] == name]


@on_each_engine
@given(st.permutations([(t, i) for i, t in enumerate("aabcb", 1)]))
def test_the_order_of_rows_does_not_matter(ledger: Engine, rows: list[tuple[str, int]]) -> None:
    name = next(names)
    add_samples(ledger, name, [sample(t, i) for t, i in rows], chunk=2)
    assert {(line, digest) for _, _, line, digest, _ in of_dataset(ledger, name)} == {
        (i, sample(t).id) for i, t in enumerate("aabcb", 1)
    }
    assert len(stored(ledger, name)) == 3


def test_a_changed_line_points_to_its_new_sample(ledger: Engine) -> None:
    add_samples(ledger, "d", [sample("old", 1, note="first"), sample("kept", 2)])
    assert add_samples(ledger, "d", [sample("new", 1, note="second"), sample("kept", 2)]).new == 1
    with ledger.connect() as conn:
        old, new = (find_sample(conn, sample(t).id) for t in ("old", "new"))
        assert list_occurrences(conn, old.pk) == []
        assert list_occurrences(conn, new.pk) == [("train.jsonl", 1, {"note": "second"})]


def test_changed_fields_of_an_unchanged_sample_are_kept_and_count_as_unchanged(ledger: Engine) -> None:
    add_samples(ledger, "d", [sample("a", 1, note="first")])
    assert add_samples(ledger, "d", [sample("a", 1, note="second")]) == Added(1, 0, 0)
    with ledger.connect() as conn:
        pk = find_sample(conn, sample("a").id).pk
        assert list_occurrences(conn, pk) == [("train.jsonl", 1, {"note": "second"})]


def test_samples_without_a_source_count_once(ledger: Engine) -> None:
    assert add_samples(ledger, "d", [sample("a"), sample("b"), sample("a")]) == Added(3, 2, 0)
    assert add_samples(ledger, "d", [sample("c"), sample("a")]) == Added(2, 1, 0)
    with ledger.connect() as conn:
        assert len(list_occurrences(conn, find_sample(conn, sample("a").id).pk)) == 1


def test_memory_is_bounded_by_length_too(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples_module, "_CHUNK_CHARS", 1000)
    progress: list[int] = []
    long = [sample(f"{i}" + "x" * 300, i) for i in range(1, 7)]
    assert add_samples(ledger, "d", long, on_progress=progress.append).new == 6
    assert progress == [2, 4, 6]


def test_the_stream_is_read_between_transactions_and_kept_up_to_its_failure(ledger: Engine) -> None:
    open_now = 0

    def opened(_conn: object) -> None:
        nonlocal open_now
        open_now += 1

    def closed(_conn: object) -> None:
        nonlocal open_now
        open_now -= 1

    event.listen(ledger, "begin", opened)
    event.listen(ledger, "commit", closed)

    def stream() -> Iterator[Sample]:
        for i in range(1, 6):
            assert open_now == 0
            yield sample(str(i), i)
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="disk"):
        add_samples(ledger, "d", stream(), chunk=2)
    assert stored(ledger, "d") == [sample(str(i)) for i in range(1, 5)]


@pytest.mark.parametrize(
    "metadata",
    [
        {"n": 2**70, "x": float("nan"), "s": "\ud800 \x00", "when": datetime(2026, 1, 1), "b": b"\xff"},
        {"deep": [[]]},
        {1: "a number for a key"},
        {("a", "tuple"): 1},
    ],
)
def test_hostile_metadata_does_not_stop_the_ingest(ledger: Engine, metadata: dict[str, object]) -> None:
    if "deep" in metadata:
        nested: list[object] = []
        for _ in range(100_000):
            nested = [nested]
        metadata["deep"] = nested
    hostile = Sample((Message("assistant", "x"),), metadata=metadata, source=Source("bad\udcff.jsonl", 1))
    assert add_samples(ledger, "d", [hostile, sample("fine", 2)]).new == 2
    with ledger.connect() as conn:
        (found,) = list_occurrences(conn, find_sample(conn, hostile.id).pk)
    assert found.file == "bad\\udcff.jsonl"
    assert len(found.metadata) == len(metadata)


def test_a_sample_is_found_by_its_first_digits(ledger: Engine) -> None:
    many = [sample(str(i), i) for i in range(1, 50)]
    add_samples(ledger, "d", many)
    add_samples(ledger, "e", many[:1])
    with ledger.connect() as conn:
        found = find_sample(conn, many[7].id[:12].upper())
        assert isinstance(found, StoredSample)
        assert found.sample == many[7]
        with pytest.raises(LedgerError, match="more than one") as both:
            find_sample(conn, many[0].id)
        assert "'d'" in both.value.message
        assert "'e'" in both.value.message
        assert find_sample(conn, many[0].id, dataset="e").dataset_id == find_dataset(conn, "e").id
        with pytest.raises(LedgerError, match="begins with"):
            find_sample(conn, "0" * 64)
        for bad in ("abcde", "xyzxyz", "%%%%%%", "a" * 65):
            with pytest.raises(InputError):
                find_sample(conn, bad)


def test_an_unknown_dataset_is_answered_with_the_known_ones(ledger: Engine) -> None:
    with ledger.connect() as conn:
        with pytest.raises(LedgerError) as empty:
            find_dataset(conn, "d")
        assert "curation ingest" in empty.value.hint
    add_samples(ledger, "helpful", [sample("a", 1)])
    with ledger.connect() as conn, pytest.raises(LedgerError) as unknown:
        find_dataset(conn, "helpfull")
    assert "'helpful'" in unknown.value.hint


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "line\nbreak"])
def test_a_dataset_needs_a_printable_name(ledger: Engine, name: str) -> None:
    with pytest.raises(InputError):
        add_samples(ledger, name, [])


def test_times_are_the_databases_and_aware(ledger: Engine) -> None:
    add_samples(ledger, "d", [sample("a", 1)])
    with ledger.connect() as conn:
        (dataset,) = list_datasets(conn)
        clock = conn.execute(text("SELECT CURRENT_TIMESTAMP")).scalar_one()
    now = datetime.fromisoformat(str(clock))
    now = now if now.tzinfo else now.replace(tzinfo=UTC)
    assert dataset.created_at.tzinfo is UTC
    assert timedelta(seconds=-1) <= now - dataset.created_at < timedelta(minutes=1)


def test_a_table_of_someone_elses_by_our_temporary_name_is_left_alone(ledger: Engine) -> None:
    with ledger.begin() as conn:
        conn.execute(text("CREATE TABLE incoming (theirs text)"))
        conn.execute(text("INSERT INTO incoming VALUES ('kept')"))
    assert add_samples(ledger, "d", [sample("a", 1), sample("b", 2)], chunk=1) == Added(2, 2, 0)
    with ledger.connect() as conn:
        assert conn.execute(text("SELECT theirs FROM incoming")).scalar_one() == "kept"


def test_a_failure_never_quotes_the_sample(ledger: Engine) -> None:
    secret = "the secret text"
    with ledger.begin() as conn:
        conn.execute(text("DROP TABLE occurrences"))
    with pytest.raises(Exception, match="occurrences") as in_use:
        add_samples(ledger, "d", [sample(secret, 1, note=secret)])
    with pytest.raises(Exception, match="nowhere") as in_sql, writing(ledger) as conn:
        conn.execute(text("INSERT INTO nowhere VALUES (:body)"), [{"body": secret}, {"body": secret}])
    for failure in (in_use, in_sql):
        assert secret not in "".join(traceback.format_exception(failure.value))
    assert stored(ledger, "d") == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before_cursor_execute", "after_cursor_execute"])
def test_a_lost_connection_keeps_whole_chunks_and_the_next_run_completes(
    postgres_ledger: Engine, moment: str
) -> None:
    rows = [sample(str(i), i) for i in range(1, 11)]
    cut = iter([False, False, True])

    def lose(_conn: object, cursor: Any, statement: str, *_rest: object) -> None:
        if statement.strip().startswith("CREATE TEMPORARY") and next(cut, False):
            with postgres_ledger.connect() as other:
                pid = cursor.connection.info.backend_pid
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    event.listen(postgres_ledger, moment, lose)
    with pytest.raises(LedgerError, match="did not take the change"):
        add_samples(postgres_ledger, "d", rows, chunk=3)
    assert len(stored(postgres_ledger, "d")) == 6
    assert add_samples(postgres_ledger, "d", rows, chunk=3) == Added(10, 4, 0)


@pytest.mark.slow
def test_two_writers_with_samples_in_common_do_not_deadlock(postgres_ledger: Engine) -> None:
    rows = [sample(str(i), i) for i in range(1, 2001)]
    both = threading.Barrier(2, timeout=1)
    failures: list[BaseException] = []

    def meet(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("INSERT INTO samples"):
            with suppress(threading.BrokenBarrierError):  # as it should be: one is kept waiting
                both.wait()

    def ingest(mine: list[Sample]) -> None:
        try:
            add_samples(postgres_ledger, "d", mine, chunk=len(mine))
        except BaseException as error:
            failures.append(error)

    event.listen(postgres_ledger, "before_cursor_execute", meet)
    threads = [threading.Thread(target=ingest, args=(order,)) for order in (rows, rows[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(stored(postgres_ledger, "d")) == 2000


@pytest.mark.slow
def test_postgres_finds_lines_of_a_dataset_by_their_place_before_it_has_statistics(
    postgres_ledger: Engine,
) -> None:
    add_samples(postgres_ledger, "first", [sample(str(i), i) for i in range(1, 3001)])
    with writing(postgres_ledger) as conn:
        conn.exec_driver_sql("ALTER TABLE samples SET (autovacuum_enabled = false)")
        conn.exec_driver_sql("ALTER TABLE occurrences SET (autovacuum_enabled = false)")
        conn.exec_driver_sql("ANALYZE")
    looked_up: list[str] = []

    def explain(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM incoming" in statement and "occurrences" in statement:
            cursor.execute("EXPLAIN " + statement, parameters)
            looked_up.append("\n".join(row[0] for row in cursor.fetchall()))

    event.listen(postgres_ledger, "before_cursor_execute", explain)
    add_samples(postgres_ledger, "second", [sample(str(i), i) for i in range(1, 11)])
    assert len(looked_up) == 2
    assert all("uq_samples_dataset_id_content_hash" in plan for plan in looked_up)
    assert "pk_occurrences" in looked_up[0]

"""The queue page by page against the whole order worked out in memory."""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from curation.errors import InputError, LedgerError
from curation.ledger import (
    QueueItem,
    add_samples,
    counts,
    list_datasets,
    page,
    reading,
    score_of,
)
from curation.ledger.queue import STATES
from curation.triage import TIERS, Tier, TierPolicy
from tests.ledger.builders import (
    new_dataset,
    new_scorer,
    pks_of,
    quarantine_sample,
    sample,
    score_row,
    scored_dataset,
    write_scores,
)

RISKS = st.sampled_from([-1e300, -2.0, -0.0, 0.0, 0.1, 0.1 + 2**-54, 1 / 3, 5e-324, 1e300]) | st.floats(-3, 3)
FATES = st.one_of(st.just("quarantined"), st.just("unscored"), RISKS)
POLICY = TierPolicy(critical=85, high=60, medium=30)  # so that small datasets have all tiers

Fate = str | float
on_each_engine = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass
class Model:
    """A dataset in the ledger, and the same in a dictionary."""

    engine: Engine
    dataset_id: int
    scorer_id: int
    fates: dict[int, Fate] = field(default_factory=dict)

    def add(self, fates: Collection[Fate]) -> None:
        with self.engine.connect() as conn:
            name = next(d.name for d in list_datasets(conn) if d.id == self.dataset_id)
        start = len(self.fates)
        add_samples(self.engine, name, [sample(str(i), i + 1) for i in range(start, start + len(fates))])
        for pk, fate in zip(pks_of(self.engine, self.dataset_id)[start:], fates, strict=True):
            self.set(pk, fate)

    def set(self, pk: int, fate: Fate) -> None:
        self.fates[pk] = fate
        if fate == "quarantined":
            quarantine_sample(self.engine, self.scorer_id, pk, f"reason {pk}")
        elif isinstance(fate, float):
            write_scores(self.engine, self.scorer_id, [score_row(pk, self.dataset_id, fate)])

    def state(self, pk: int) -> str:
        fate = self.fates[pk]
        return fate if isinstance(fate, str) else "scored"

    def percentile(self, risk: float) -> float:
        risks = [fate for fate in self.fates.values() if isinstance(fate, float)]
        return 100 * (1 - sum(r > risk for r in risks) / (len(risks) - 1)) if len(risks) > 1 else 100.0

    def order(self) -> list[int]:
        def key(pk: int) -> tuple[int, float, int]:
            fate = self.fates[pk]
            return (STATES.index(self.state(pk)), -fate if isinstance(fate, float) else 0.0, pk)

        return sorted(self.fates, key=key)


def model(engine: Engine, fates: Collection[Fate]) -> Model:
    new = Model(engine, new_dataset(engine, []), new_scorer(engine))
    new.add(fates)
    return new


def read_all(model: Model, limit: int, tiers: Collection[Tier] | None = None) -> list[QueueItem]:
    items: list[QueueItem] = []
    after: str | None = None
    while True:
        with reading(model.engine) as conn:
            found = page(conn, model.dataset_id, model.scorer_id, limit, after, tiers, POLICY)
        items += found.items
        after = found.next_cursor
        assert len(found.items) == limit or after is None
        if after is None:
            return items


@on_each_engine
@given(fates=st.lists(FATES, max_size=14), limit=st.integers(1, 5))
def test_pages_put_together_are_the_whole_order(ledger: Engine, fates: list[Fate], limit: int) -> None:
    queue = model(ledger, fates)
    items = read_all(queue, limit)
    assert [item.pk for item in items] == queue.order()
    for item in items:
        fate = queue.fates[item.pk]
        assert item.state == queue.state(item.pk)
        assert item.reason == (f"reason {item.pk}" if fate == "quarantined" else None)
        assert item.risk == (fate if isinstance(fate, float) else None)
        if isinstance(fate, float):
            assert item.percentile == pytest.approx(queue.percentile(fate))
            assert item.tier == POLICY.tier(item.percentile or 0.0)
        else:
            assert (item.percentile, item.tier, item.danger, item.n_tokens) == (None, None, None, None)


@on_each_engine
@given(
    risks=st.lists(RISKS, max_size=14),
    tiers=st.lists(st.sampled_from(TIERS), unique=True),
    limit=st.integers(1, 4),
)
def test_tiers_are_the_same_filtered_or_not(
    ledger: Engine, risks: list[float], tiers: list[Tier], limit: int
) -> None:
    queue = model(ledger, [*risks, "unscored", "quarantined"])
    everything = read_all(queue, limit=100)
    assert read_all(queue, limit, tiers) == [item for item in everything if item.tier in tiers]
    with reading(ledger) as conn:
        counted = counts(conn, queue.dataset_id, queue.scorer_id, POLICY).tiers
    assert counted == {tier: sum(item.tier == tier for item in everything) for tier in TIERS}


@on_each_engine
@given(
    fates=st.lists(FATES, min_size=1, max_size=10),
    arrivals=st.lists(FATES, max_size=6),
    limit=st.integers(1, 3),
)
def test_what_arrives_meanwhile_repeats_and_hides_nothing(
    ledger: Engine, fates: list[Fate], arrivals: list[Fate], limit: int
) -> None:
    queue = model(ledger, fates)
    at_first = queue.order()
    coming = iter(arrivals)
    seen: list[int] = []
    after: str | None = None
    while True:
        with reading(ledger) as conn:
            found = page(conn, queue.dataset_id, queue.scorer_id, limit, after, None, POLICY)
        seen += [item.pk for item in found.items]
        after = found.next_cursor
        if after is None:
            break
        queue.add([fate for fate in [next(coming, None)] if fate is not None])
    assert len(seen) == len(set(seen))
    assert [pk for pk in seen if pk in at_first] == at_first


def test_a_sample_comes_up_again_only_in_a_new_state(ledger: Engine) -> None:
    queue = model(ledger, ["unscored", "unscored", 1.0, 3.0])
    first, second, low, high = queue.fates
    with reading(ledger) as conn:
        found = page(conn, queue.dataset_id, queue.scorer_id, limit=2)
    queue.set(first, 2.0)
    with reading(ledger) as conn:
        rest = page(conn, queue.dataset_id, queue.scorer_id, after=found.next_cursor)
    assert [(i.pk, i.state) for i in found.items] == [(first, "unscored"), (second, "unscored")]
    assert [(i.pk, i.state) for i in rest.items] == [(high, "scored"), (first, "scored"), (low, "scored")]


@on_each_engine
@given(fates=st.lists(FATES, min_size=1, max_size=8))
def test_one_sample_alone_stands_as_it_does_in_the_queue(ledger: Engine, fates: list[Fate]) -> None:
    queue = model(ledger, fates)
    with reading(ledger) as conn:
        for item in page(conn, queue.dataset_id, queue.scorer_id, policy=POLICY).items:
            assert score_of(conn, queue.scorer_id, item.pk, POLICY) == item


@on_each_engine
@given(fates=st.lists(FATES, max_size=10))
def test_every_sample_is_counted_in_one_state(ledger: Engine, fates: list[Fate]) -> None:
    queue = model(ledger, fates)
    with reading(ledger) as conn:
        found = counts(conn, queue.dataset_id, queue.scorer_id, POLICY)
    states = [queue.state(pk) for pk in queue.fates]
    assert (found.samples, found.rows, found.duplicates) == (len(fates), len(fates), 0)
    assert (found.quarantined, found.unscored, found.scored) == tuple(states.count(s) for s in STATES)
    assert sum(found.tiers.values()) == found.scored


def test_copies_are_the_lines_that_hold_the_sample_now(ledger: Engine) -> None:
    add_samples(ledger, "d", [sample(t, i) for i, t in enumerate("aabacx", 1)])
    add_samples(ledger, "d", [sample("y", 6)])
    with reading(ledger) as conn:
        dataset_id, scorer_id = list_datasets(conn)[0].id, new_scorer(ledger)
        items = page(conn, dataset_id, scorer_id).items
        assert [(i.sample.answer[-1], i.copies) for i in items] == [
            *zip("abcxy", (3, 1, 1, 0, 1), strict=True)
        ]
        found = counts(conn, dataset_id, scorer_id)
    assert (found.samples, found.rows, found.duplicates) == (5, 6, 2)


def test_other_datasets_and_scorers_stay_out(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = scored_dataset(ledger, [1.0, 2.0])
    scored_dataset(ledger, [5.0] * 10)
    write_scores(ledger, new_scorer(ledger), [score_row(pks[0], dataset_id, 9.0)])
    quarantine_sample(ledger, new_scorer(ledger), pks[1], "another scorer's trouble")
    with reading(ledger) as conn:
        found = [(i.pk, i.risk, i.percentile) for i in page(conn, dataset_id, scorer_id).items]
    assert found == [(pks[1], 2.0, 100.0), (pks[0], 1.0, 0.0)]


@pytest.mark.parametrize(
    "cursor",
    ["x", "!", "é", "A" * 5, *(
        base64.urlsafe_b64encode(raw).decode().rstrip("=")
        for raw in (b"[]", b'["scored",1]', b'["gone",1,0.5]', b'["scored",-1,0.5]', b'["scored",1e9,0.5]',
                    b'["scored",1,"0"]', b'["scored",1,1e999]', b'["scored",1,null]', b'{"a":1}', b"[" * 9999)
    )],
)  # fmt: skip
def test_a_forged_cursor_is_refused(ledger: Engine, cursor: str) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger, [1.0])
    with reading(ledger) as conn, pytest.raises(InputError, match="cursor"):
        page(conn, dataset_id, scorer_id, after=cursor)


def test_bad_limits_tiers_and_samples_are_refused(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger, [1.0])
    with reading(ledger) as conn:
        for limit in (0, -1, 1001):
            with pytest.raises(InputError, match="page"):
                page(conn, dataset_id, scorer_id, limit=limit)
        with pytest.raises(InputError, match="terrible"):
            page(conn, dataset_id, scorer_id, tiers=["terrible"])  # type: ignore[list-item]
        with pytest.raises(LedgerError):
            score_of(conn, scorer_id, 10**9)

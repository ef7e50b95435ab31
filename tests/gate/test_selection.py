"""What the gate lets out: exactly what is positively allowed, whatever happened before and in whatever order."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from curation.errors import GateError, LedgerError
from curation.gate.selection import check_names
from curation.ledger import reading, writing
from curation.ledger.tables import samples
from tests.gate.builders import OTHER, SCORER, House, policy_of, reviewed

_names = itertools.count(1)
LINES, TEXTS = range(1, 6), "abcd"
SEVERITY = {"approve": 0, "withdraw": 1, "reject": 2}

decision = st.tuples(
    st.just("decide"),
    st.sampled_from(sorted(SEVERITY)),
    st.sampled_from(TEXTS),
    st.sampled_from(["ada", "bob"]),
    st.integers(0, 2),
)
event = st.one_of(
    decision,
    decision,
    st.tuples(st.just("write"), st.sampled_from(LINES), st.sampled_from(TEXTS)),
    st.tuples(st.just("score"), st.sampled_from(TEXTS), st.sampled_from([SCORER, SCORER, OTHER])),
    st.tuples(st.just("quarantine"), st.sampled_from(TEXTS)),
)
events = st.lists(event, max_size=25)


class Model:
    """The gate in its most obvious form: dictionaries, and a rule read off the README."""

    def __init__(self) -> None:
        self.lines = dict(zip(LINES, "abcda", strict=True))
        self.known = set(TEXTS)
        self.scored: set[str] = set()
        self.decisions: list[tuple[int, int, str, str, str]] = []

    def apply(self, name: str, *args: Any) -> None:
        match name:
            case "decide":
                verdict, text, by, minute = args
                self.decisions.append((minute, SEVERITY[verdict], verdict, text, by))
            case "write":
                self.lines[args[0]] = args[1]
            case "score":
                self.scored |= {args[0]} if args[1] == SCORER else set()

    def words(self, text: str) -> set[str]:
        last = {by: verdict for _, _, verdict, about, by in sorted(self.decisions) if about == text}
        return set(last.values()) - {"withdraw"}

    def may_leave(self, passing: bool) -> list[int]:
        everything_scored = set(self.lines.values()) <= self.scored
        return [
            line
            for line, text in sorted(self.lines.items())
            if text in self.scored
            and (self.words(text) == {"approve"} or (passing and everything_scored and not self.words(text)))
        ]


def play(ledger: Engine, model: Model, happened: list[Any]) -> House:
    house = House(ledger, f"d{next(_names)}")
    house.write(model.lines)
    for name, *args in happened:
        model.apply(name, *args)
        match name:
            case "decide":
                verdict, text, by, minute = args
                house.decide(verdict, text, by=by, minute=minute)
            case "write":
                house.write({args[0]: args[1]})
            case "score":
                house.score({args[0]: float(ord(args[0]))}, args[1])
            case _:
                house.quarantine(args[0])
    house.score({})  # the scorer is known, even if it scored nothing
    return house


@given(events)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_undecided_stale_edited_or_rejected_row_ever_leaves(ledger: Engine, happened: list[Any]) -> None:
    model = Model()
    house = play(ledger, model, happened)
    out, held = house.look()
    assert [line for line, _ in out] == model.may_leave(passing=False)
    assert len(out) + sum(n for reason, n in held.items() if reason != "edited") == len(model.lines)
    assert held.get("edited", 0) == len(model.known - set(model.lines.values()))
    passing = policy_of(rules=dict.fromkeys(("critical", "high", "medium", "low"), "pass"))
    # A sample in quarantine is not waiting for its score: the order of the others is known without it.
    out, _ = house.look(passing)
    assert {line for line, because in out if because == "approved"} == set(model.may_leave(passing=False))
    assert set(model.may_leave(passing=True)) <= {line for line, _ in out}
    assert all(model.lines[line] in model.scored for line, _ in out)
    assert not any("reject" in model.words(model.lines[line]) for line, _ in out)


@given(events, st.integers(0, 1000))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_in_which_decisions_arrive_does_not_matter(
    ledger: Engine, happened: list[Any], seed: int
) -> None:
    decided = [one for one in happened if one[0] == "decide"]
    rest = [one for one in happened if one[0] != "decide"]
    shuffled = random.Random(seed).sample(decided, len(decided))
    assert play(ledger, Model(), rest + decided).look() == play(ledger, Model(), shuffled + rest).look()


def test_every_reason_to_stay_is_counted_by_name(ledger: Engine) -> None:
    house = reviewed(ledger, 7)
    house.write({8: "new", 9: "old scorer", 10: "broken", 11: "t0", 12: "ghost"})
    house.score({"old scorer": 3.0}, OTHER)
    house.quarantine("broken")
    house.decide("reject", "t1", minute=1)
    house.decide("withdraw", "t2", minute=1)
    house.write({12: "t3"})
    with writing(ledger) as conn:
        broken = samples.c.id == house.pk("t5")
        conn.execute(samples.update().where(broken).values(body="[1"))
        text = samples.c.id == house.pk("t4")
        conn.execute(
            samples.update().where(text).values(body='{"messages":[["assistant","x"]],"train":"last"}')
        )
    out, held = house.look()
    assert out == [(line, "approved") for line in (1, 4, 7, 11, 12)]
    assert held == {
        "damaged": 2,
        "rejected": 1,
        "quarantined": 1,
        "stale": 1,
        "unscored": 1,
        "undecided": 1,
        "edited": 1,
    }


def test_a_tier_may_be_held_or_passed(ledger: Engine) -> None:
    house = reviewed(ledger, 10)
    house.decide("withdraw", "t8", "t9", minute=1)
    tiers = {"by": "top", "critical": 1, "high": 1, "medium": 8}
    rules = {"critical": "hold", "medium": "approve", "low": "pass"}
    out, held = house.look(policy_of(tiers=tiers, rules=rules))
    assert out == [(line, "approved") for line in range(2, 9)] + [(9, "passed"), (10, "passed")]
    assert held == {"tier held": 1}


def test_nothing_passes_by_rank_while_scores_are_missing(ledger: Engine) -> None:
    house = reviewed(ledger, 4)
    house.decide("withdraw", "t3", minute=1)
    house.write({5: "new"})
    by_rank = policy_of(rules={"low": "pass"})
    assert house.look(by_rank)[1] == {"unscored": 1, "order incomplete": 1}
    by_risk = policy_of(rules={"low": "pass"}, tiers={"by": "risk", "critical": 4, "high": 3, "medium": 2})
    assert house.look(by_risk)[0][-1] == (4, "passed")
    house.score({"new": 9.0})
    house.decide("approve", "new")
    assert house.look(by_rank)[0][-2:] == [(4, "passed"), (5, "approved")]


def test_one_reject_keeps_a_row_from_passing_whatever_the_rule(ledger: Engine) -> None:
    house = reviewed(ledger, 4)
    house.decide("reject", "t3", by="bob", minute=1)
    for rule in ("majority", "unanimous"):
        policy = policy_of(rules={"low": "pass"}, decided_by=rule)
        assert house.look(policy)[1] == {"undecided": 1}
    assert house.look(policy_of(rules={"low": "pass"}))[1] == {"rejected": 1}


def test_samples_on_no_line_take_nobodys_place_in_the_order(ledger: Engine) -> None:
    house = reviewed(ledger, 4)
    house.decide("withdraw", "t0", "t1", "t2", "t3", minute=1)
    house.write({5: "ghost"})
    house.score({"ghost": 100.0})
    house.write({5: "t3"})
    top = policy_of(tiers={"by": "top", "critical": 1, "high": 1, "medium": 1}, rules={"low": "pass"})
    assert house.look(top) == ([(n, "passed") for n in (2, 3, 4, 5)], {"undecided": 1, "edited": 1})


def test_a_policy_must_name_what_the_ledger_has(ledger: Engine) -> None:
    house = reviewed(ledger)
    with pytest.raises(LedgerError, match="policy's scorer"):
        house.look(policy_of(scorer="fedcba"))
    with reading(ledger) as conn, pytest.raises(GateError, match="'suport'"):
        check_names(conn, policy_of(datasets={"suport": {"rules": {"critical": "hold"}}}))

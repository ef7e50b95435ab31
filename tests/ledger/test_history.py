"""The history of a sample is complete and in order of time, and of this sample only."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from curation.ledger import reading
from curation.ledger.history import history
from tests.gate.builders import OTHER, SCORER, reviewed


def test_everything_that_happened_is_told_in_order(ledger: Engine, tmp_path: Path) -> None:
    house = reviewed(ledger, 3)
    house.quarantine("t0")
    house.score({"t0": 5.0}, OTHER)
    house.export(tmp_path / "one")
    house.decide("reject", "t0", by="bob", minute=1)
    house.export(tmp_path / "two")
    with reading(ledger) as conn:
        events = history(conn, house.pk("t0"))
        other = history(conn, house.pk("t1"))
    # the clock of SQLite's defaults counts whole seconds, so only what comes late has a sure place
    assert {event.kind for event in events} == {"seen", "scored", "quarantined", "decided", "exported"}
    assert [event.facts["scorer"] for event in events if event.kind == "scored"] == [SCORER, OTHER]
    late = [event for event in events if event.kind in ("decided", "exported")]
    assert [event.kind for event in late] == ["decided", "exported", "decided"]
    assert [event.facts["verdict"] for event in events if event.kind == "decided"] == ["approve", "reject"]
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert [event.kind for event in other].count("exported") == 2

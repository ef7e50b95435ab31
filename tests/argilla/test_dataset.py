"""What is Argilla's own: metadata shared with others, distribution, drafts, a search index that errs in silence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import pytest

from curation.errors import PlatformError, PlatformUnavailable
from curation.ledger.decisions import decisions_on
from curation.ledger.engine import reading
from curation.ledger.samples import add_samples
from curation.platforms.contract import Columns, Finding, Placed
from curation.platforms.opening import open_platform
from curation.review.fold import last_words, standing
from tests.argilla.rig import ArgillaRig
from tests.argilla.server import OwnArgilla
from tests.platforms.proxy import Fault, proxy
from tests.platforms.rig import DATASET, Ledger, pair

pytestmark = pytest.mark.slow

N = 12


@pytest.fixture
def shown(rig: ArgillaRig, book: Ledger) -> Ledger:
    """Twelve samples in Argilla; the higher their number, the riskier."""
    score(book)
    rig.connect(book.engine)
    book.sync(rig)
    return book


def score(book: Ledger, sign: float = 1, scorer: str = "a") -> None:
    given = {f"q{i}": sign * i for i in range(N)}
    if not book.count():
        book.ingest(list(given))
    book.score(given, scorer)


def by_risk(sign: float = 1) -> list[str]:
    return [f"q{i}" for i in (range(N) if sign < 0 else reversed(range(N)))]


def metadata(rig: ArgillaRig, remote_id: str) -> dict[str, Any]:
    (found,) = [record for record in rig.records() if record["id"] == remote_id]
    return found["metadata"]


def findings(rig: ArgillaRig, book: Ledger, *, repair: bool = False) -> dict[str, Finding]:
    target = book.target()
    platform = open_platform(target, rig.settings)
    return {each.check: each for each in platform.examine(target.shown, N, repair=repair)}


def test_metadata_of_others_stay(rig: ArgillaRig, shown: Ledger) -> None:
    theirs = {"source": "crawl", "length": 7, "nested": {"a": [1]}}
    item = rig.find("q3")
    rig.put(item, metadata={**metadata(rig, item), **theirs})
    score(shown, -1, "b")
    shown.sync(rig)
    assert rig.listed() == by_risk(-1)
    now = metadata(rig, item)
    assert {name: now[name] for name in theirs} == theirs
    assert now["risk"] == -3.0


def test_metadata_that_others_set_during_a_push_stay(rig: ArgillaRig, book: Ledger) -> None:
    """What is written is merged with what is there at that moment, not with what was there when the push began."""
    score(book)
    with proxy(rig.url) as between:
        rig.connect(book.engine, url=between.url)
        book.sync(rig)
        item = rig.find("q0")
        score(book, -1, "b")
        listed = Counter[str]()

        def meddling(method: str, path: str) -> Fault | None:
            if (
                path.endswith("/records/search") and listed["/records"] == 2
            ):  # once by the pull, once by the push
                listed.clear()
                rig.put(item, metadata={**metadata(rig, item), "theirs": 1})
            listed[path[path.rindex("/") :]] += 1
            return None

        between.fault = meddling
        book.sync(rig)
    assert metadata(rig, item)["theirs"] == 1
    assert rig.listed() == by_risk(-1)


def test_what_others_wiped_is_set_again(rig: ArgillaRig, shown: Ledger) -> None:
    """The SDK's `records.log` replaces the metadata of every record it is given."""
    for question in ("q2", "q9"):
        rig.put(rig.find(question), metadata={"theirs": 1})
    done = shown.sync(rig)
    assert (done.created, done.pulled.edited) == (0, 0)
    assert rig.listed() == by_risk()
    assert metadata(rig, rig.find("q9")) == {
        "theirs": 1, "risk": 9.0, "danger": 10.0, "safety": 1.0, "risk_percentile": 81, "risk_tier": "medium",
        "risk_scorer": "0" * 12, "risk_place": metadata(rig, rig.find("q9"))["risk_place"],
    }  # fmt: skip


def test_two_answers_for_each_record(rig: ArgillaRig, book: Ledger) -> None:
    score(book)
    rig.connect(book.engine, min_submitted=2)
    book.sync(rig)
    first = by_risk()[0]
    assert rig.served(0, 1) == [first]
    assert rig.served(1, 1) == [first]  # still pending for the other annotator
    assert book.sync(rig).pulled.decisions == 2
    assert [r["status"] for r in rig.records() if r["id"] == rig.find(first)] == ["completed"]
    (made,) = decisions(book, first)
    assert {d.reviewer for d in made} == {rig.reviewer(0), rig.reviewer(1)}
    # a deleted answer leaves no trace of its own: the record's time stays, as one answer is missing still
    answer = rig.answer(rig.find("q5"), "reject")
    book.sync(rig)
    rig.delete(answer)
    assert book.sync(rig).pulled.decisions == 1
    assert stands(book, "q5") == "undecided"


def test_drafts_and_discarded_answers_do_not_count(rig: ArgillaRig, shown: Ledger) -> None:
    rig.draft(rig.find("q1"))
    rig.skip(rig.find("q2"))  # with the answer "reject" in it
    assert shown.sync(rig).pulled.decisions == 0
    answer = rig.answer(rig.find("q3"), "approve")
    shown.sync(rig)
    values = {"decision": {"value": "approve"}}
    body = {"status": "discarded", "values": values}
    rig.server.owner.put(f"/responses/{answer}", json=body).raise_for_status()
    assert shown.sync(rig).pulled.decisions == 1
    assert stands(shown, "q3") == "undecided"
    rig.change(answer, "approve")
    shown.sync(rig)
    assert stands(shown, "q3") == "approved"


def test_nothing_is_read_where_nothing_happened(rig: ArgillaRig, book: Ledger) -> None:
    """Our own writes are noticed once, and then no more."""
    score(book)
    with proxy(rig.url) as between:
        rig.connect(book.engine, url=between.url)
        book.sync(rig)
        book.sync(rig)
        between.seen.clear()
        book.sync(rig)
        assert [path for method, path in between.seen if path.endswith("/records")] == []
        assert not any(method in ("PUT", "PATCH") for method, _ in between.seen)
        rig.answer(rig.find("q4"), "approve")
        assert book.sync(rig).pulled.decisions == 1


def test_a_record_that_was_edited_is_not_overwritten_by_its_first_text(
    rig: ArgillaRig, shown: Ledger
) -> None:
    item = rig.find("q6")
    rig.edit(item, "a corrected answer")
    shown.sync(rig)
    add_samples(shown.engine, DATASET, [pair("q6", "answer to q6", 77)])  # the same row comes again
    assert shown.sync(rig).created == 1
    assert rig.text(item)[1] == ("assistant", "a corrected answer")
    assert shown.sync(rig).created == 0
    answers = [rig.text(r["id"])[1][1] for r in rig.records() if rig.text(r["id"])[0][1] == "q6"]
    assert sorted(answers) == ["a corrected answer", "answer to q6"]


def test_all_turns_trained_on_is_remembered(rig: ArgillaRig, book: Ledger) -> None:
    whole = replace(pair("q0", "a0", 1), train="all")
    add_samples(book.engine, DATASET, [whole])
    book.score({"q0": 1.0})
    rig.connect(book.engine)
    book.sync(rig)
    rig.put(rig.find("q0"), metadata={})
    done = book.sync(rig)
    assert (done.pulled.edited, done.pulled.new_items, done.created) == (0, 0, 0)


def index(rig: ArgillaRig, method: str, path: str, **body: Any) -> None:
    assert isinstance(rig.server, OwnArgilla)
    url = f"{rig.server.engine_url}/rg.{rig.dataset}/{path}?refresh=true"
    httpx.request(method, url, json=body or None, timeout=120, trust_env=False).raise_for_status()


@pytest.mark.usefixtures("own_argilla")
def test_an_index_that_lags_is_found_and_mended(rig: ArgillaRig, shown: Ledger) -> None:
    assert findings(rig, shown)["index"].ok
    index(rig, "DELETE", f"_doc/{rig.find('q4')}")
    index(rig, "POST", f"_update/{rig.find('q7')}", doc={"metadata": {"risk_place": -5}})
    assert rig.listed() != by_risk()
    found = findings(rig, shown)
    assert not found["index"].ok
    assert "2 of 12" in found["index"].says
    assert not found["order"].ok
    assert findings(rig, shown, repair=True)["index"].repaired
    assert rig.listed() == by_risk()
    assert [each for each in findings(rig, shown).values() if not each.ok] == []


@pytest.mark.usefixtures("own_argilla")
def test_a_push_mends_what_the_index_lost(rig: ArgillaRig, shown: Ledger) -> None:
    index(rig, "DELETE", f"_doc/{rig.find('q4')}")
    shown.sync(rig)
    assert rig.listed() == by_risk()


@pytest.mark.parametrize("nth", [1, 2])
def test_the_engine_is_killed_in_mid_push(own_argilla: OwnArgilla, book: Ledger, nth: int) -> None:
    rig = ArgillaRig(own_argilla)
    score(book)
    with proxy(rig.url) as between:
        rig.connect(book.engine, url=between.url)
        writes = Counter[str]()

        def killing(method: str, path: str) -> Fault | None:
            writes[method] += 1
            if method == "PUT" and writes["PUT"] == nth:
                own_argilla.engine.kill()
            return None

        between.fault = killing
        with pytest.raises(PlatformUnavailable):
            book.sync(rig)
        between.fault = lambda method, path: None
        own_argilla.engine.start()
        book.sync(rig)
        assert [each for each in findings(rig, book).values() if not each.ok] == []
    assert rig.listed() == by_risk()
    assert len(rig.records()) == N


def test_server_and_engine_are_restarted_in_mid_push(own_argilla: OwnArgilla, book: Ledger) -> None:
    rig = ArgillaRig(own_argilla)
    score(book)
    with proxy(rig.url) as between:
        rig.connect(book.engine, url=between.url)
        book.sync(rig)
        rig.answer(rig.find("q3"), "reject")
        score(book, -1, "b")
        writes = Counter[str]()

        def restarting(method: str, path: str) -> Fault | None:
            writes[method] += 1
            if method == "PUT" and writes["PUT"] == 1:
                own_argilla.server.kill()
                own_argilla.engine.kill()
                own_argilla.start()
            return None

        between.fault = restarting
        book.sync(rig)  # nobody notices
    assert rig.listed() == by_risk(-1)
    assert stands(book, "q3") == "rejected"


def test_missing_columns_are_said_and_added(rig: ArgillaRig, shown: Ledger) -> None:
    http = rig.server.owner
    properties = http.get(f"/me/datasets/{rig.dataset}/metadata-properties").json()["items"]
    (danger,) = [each for each in properties if each["name"] == "danger"]
    assert not any(each["visible_for_annotators"] for each in properties)
    http.delete(f"/metadata-properties/{danger['id']}").raise_for_status()
    score(shown, -1, "b")
    with pytest.raises(PlatformError, match="missing: danger"):
        shown.sync(rig)
    assert not findings(rig, shown)["columns"].ok
    assert findings(rig, shown, repair=True)["columns"].repaired
    shown.sync(rig)
    assert rig.listed() == by_risk(-1)


def test_a_record_that_the_server_refuses_does_not_stop_the_others(rig: ArgillaRig, shown: Ledger) -> None:
    rig.put(rig.find("q4"), metadata={"length": "unknown"})
    body = {"name": "length", "title": "length", "settings": {"type": "integer"}}
    path = f"/datasets/{rig.dataset}/metadata-properties"
    rig.server.owner.post(path, json=body).raise_for_status()
    score(shown, -1, "b")
    with pytest.raises(PlatformError, match="refuses the metadata of 1 records"):
        shown.sync(rig)
    rest = [question for question in by_risk(-1) if question != "q4"]
    assert [question for question in rig.listed() if question != "q4"] == rest
    rig.put(rig.find("q4"), metadata={"length": 5})
    shown.sync(rig)
    assert rig.listed() == by_risk(-1)


def test_deleted_records_are_said(rig: ArgillaRig, shown: Ledger) -> None:
    platform = open_platform(shown.target(), rig.settings)
    ids = [rig.find(question) for question in by_risk(-1)]
    gone = "00000000-0000-0000-0000-000000000000"
    items = [Placed(key, i / N, Columns("unscored"), True) for i, key in enumerate([*ids, gone])]
    with pytest.raises(PlatformError, match="1 records were deleted"):
        list(platform.show("r", items))
    assert platform.present([*ids, gone]) == set(ids)


def decisions(book: Ledger, *questions: str) -> list[list[Any]]:
    pks = [book.pk(question) for question in questions]
    with reading(book.engine) as conn:
        made = decisions_on(conn, book.dataset_id, pks)
    return [made.get(pk, []) for pk in pks]


def stands(book: Ledger, question: str) -> str:
    return standing(last_words(decisions(book, question)[0]), "any-reject")

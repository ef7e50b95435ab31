"""Networks and servers fail at every point of a push; in the end every sample has one live item, in its place."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from curation.errors import PlatformError, PlatformUnavailable
from tests.platforms.proxy import Decide, Fault, proxy
from tests.platforms.rig import Ledger, Rig, pair

pytestmark = pytest.mark.slow

N = 20


@pytest.fixture(params=["label-studio and sqlite", "argilla and sqlite"])
def combination(request: pytest.FixtureRequest) -> str:
    """Every platform: what fails here is the way to it, not the ledger."""
    return request.param


@pytest.fixture
def scored(book: Ledger) -> Ledger:
    given = {f"q{i}": float(i) for i in range(N)}
    book.ingest(list(given))
    book.score(given)
    return book


def in_order(rig: Rig) -> bool:
    return rig.listed() == [f"q{i}" for i in reversed(range(N))]


def nth(n: int, fault: Fault, method: str = "") -> Decide:
    """The fault on the n-th request (of that method), and on no other."""
    count = Counter[str]()

    def decide(verb: str, path: str) -> Fault | None:
        if method and verb != method:
            return None
        count["all"] += 1
        return fault if count["all"] == n else None

    return decide


@pytest.mark.parametrize("fault", ["drop", "lose", 500, 502, 429])
def test_any_request_may_fail_in_any_way(rig: Rig, scored: Ledger, fault: Fault) -> None:
    with proxy(rig.url) as between:
        rig.connect(scored.engine, url=between.url)
        errors: list[PlatformError] = []
        for n in range(1, 30):
            seen = len(between.seen)
            between.fault = nth(n, fault)
            try:
                scored.sync(rig)
            except PlatformError as error:
                errors.append(error)
            if len(between.seen) - seen < n:
                break  # everything is done before the n-th request
        between.fault = lambda method, path: None
        scored.sync(rig)
    assert len(errors) >= 3
    assert all(isinstance(error, PlatformUnavailable) and "q1" not in error.message for error in errors)
    assert in_order(rig)
    assert scored.target().trouble is None


def test_a_lost_answer_makes_no_second_item(rig: Rig, scored: Ledger) -> None:
    with proxy(rig.url) as between:
        rig.connect(scored.engine, url=between.url)
        between.fault = lambda method, path: "lose" if rig.makes_items(method, path) else None
        with pytest.raises(PlatformUnavailable):
            scored.sync(rig)
        assert scored.target().trouble
        between.fault = lambda method, path: None
        assert scored.sync(rig).created == 0
    assert in_order(rig)


def test_killed_at_random_points_it_goes_on(rig: Rig, scored: Ledger) -> None:
    with proxy(rig.url) as between:
        rig.connect(scored.engine, url=between.url)
        draw = random.Random(11)
        for _ in range(4):
            seen = len(between.seen)
            process = start_sync(rig, scored)
            while process.poll() is None and len(between.seen) == seen:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(rig.settings.lease_seconds)
        scored.sync(rig)
    assert in_order(rig)


def test_the_server_is_killed_in_mid_push(rig: Rig, scored: Ledger) -> None:
    with proxy(rig.url) as between:
        rig.connect(scored.engine, url=between.url)
        writes = Counter[str]()

        def killing(method: str, path: str) -> Fault | None:
            writes[method] += method in ("POST", "PUT")
            if sum(writes.values()) == 2 and not writes["killed"]:
                writes["killed"] = -1
                rig.kill()
            return None

        between.fault = killing
        with pytest.raises(PlatformUnavailable):
            scored.sync(rig)
        rig.start()
        scored.sync(rig)
    assert in_order(rig)


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title='x'</script><img src=x onerror=alert(1)>",
        "ünïcødé 中文 العربية \U0001f600 a\u0301 \u202eright to left\u202c",
        "$& $$ {{7*7}} {{{raw}}} &lt;b&gt; &amp; %s \\n \\u0041",
        "line\nline\r\n\ttab  two spaces ",
        "s3://bucket/key https://example.com/a.png gs://x/y",
        "long " * 200_000,
    ],
    ids=["html", "unicode", "templates", "space", "addresses", "a million characters"],
)
def test_texts_arrive_and_come_back_as_they_are(rig: Rig, book: Ledger, text: str) -> None:
    from curation.ledger.samples import add_samples
    from tests.platforms.rig import DATASET

    sample = pair("what?", text[: 1_000_000 - 5], 1)
    add_samples(book.engine, DATASET, [sample])
    book.score({"what?": 1.0})
    rig.connect(book.engine, kind="chat")
    done = book.sync(rig)
    if done.problems:  # said and counted, where a platform has a limit
        assert len(text) > 20_000
        assert done.created == 0
        return
    assert rig.text(rig.find("what?")) == [("user", "what?"), ("assistant", sample.answer)]
    again = book.sync(rig)
    assert (again.pulled.edited, again.pulled.new_items, again.created) == (0, 0, 0)


def start_sync(rig: Rig, book: Ledger) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from curation.ledger.engine import open_ledger; from curation.settings import get_settings;"
        "from curation.reconcile.sync import sync_target; s = get_settings();"
        "sync_target(open_ledger(s.url, s.home), int(sys.argv[1]), s, at_once=True)"
    )
    settings = rig.settings
    given = settings.model_dump(exclude_unset=True)
    env = {
        f"CURATION_{name.upper()}": value.get_secret_value()
        if hasattr(value, "get_secret_value")
        else str(value)
        for name, value in given.items()
    }
    env["CURATION_DATABASE_URL"] = book.engine.url.set(
        drivername=book.engine.url.get_backend_name()
    ).render_as_string(hide_password=False)
    command = [sys.executable, "-c", code, str(book.target().id)]
    return subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.DEVNULL)

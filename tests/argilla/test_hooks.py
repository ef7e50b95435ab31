"""Webhooks of a real Argilla, signed by its worker, ring at the service; forged ones do not."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import Engine

from curation.ledger.engine import reading
from curation.ledger.targets import find_hook, find_target, set_hook
from curation.platforms.argilla import connect
from curation.platforms.opening import open_argilla
from tests.argilla.rig import ArgillaRig
from tests.argilla.server import Argilla
from tests.platforms.rig import DATASET, Ledger
from tests.service.running import PATIENCE, serving, wait_for

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("argilla_worker")
def test_an_answer_rings_and_a_forged_hook_does_not(argilla: Argilla, sqlite: Engine) -> None:
    rig = ArgillaRig(argilla)
    book = Ledger(sqlite)
    book.ingest(["a", "b"])
    book.score({"a": 1.0, "b": 2.0})
    rig.connect(book.engine)
    book.sync(rig)

    def rung() -> bool:
        with reading(book.engine) as conn:
            return find_target(conn).rung

    with serving(book.engine) as service:
        url = f"{service.url}/v1/hooks/{DATASET}"
        api = open_argilla(rig.url, rig.settings)
        set_hook(book.engine, book.target().id, connect.add_hook(api, url))
        rig.answer(rig.find("a"), "reject", reason="because")
        wait_for(rung)
        assert book.sync(rig).pulled.decisions == 1
        forged = {"webhook-id": "1", "webhook-timestamp": "1700000000", "webhook-signature": "v1,AAAA"}
        assert httpx.post(url, json={}, headers=forged, timeout=PATIENCE, trust_env=False).status_code == 401
        assert httpx.post(url, json={}, timeout=PATIENCE, trust_env=False).status_code == 401
        with reading(book.engine) as conn:
            assert find_hook(conn, DATASET) is not None

"""Webhooks of a real Label Studio: they hurry a look along, and decide nothing."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import Engine

from curation.ledger.engine import reading
from curation.ledger.targets import find_target, set_hook
from curation.platforms.label_studio.connect import add_hook
from curation.platforms.opening import open_label_studio
from tests.label_studio.rig import LabelStudioRig
from tests.label_studio.server import LabelStudio
from tests.platforms.rig import DATASET, Ledger
from tests.service.running import PATIENCE, serving, wait_for

pytestmark = pytest.mark.slow

SECRET = "a secret for tests"


@pytest.fixture
def rig(label_studio: LabelStudio) -> LabelStudioRig:
    return LabelStudioRig(label_studio)


def rung(engine: Engine) -> bool:
    with reading(engine) as conn:
        return find_target(conn).rung


def test_an_answer_rings_and_is_read_from_the_platform(rig: LabelStudioRig, postgres_ledger: Engine) -> None:
    book = Ledger(postgres_ledger)
    book.ingest(["a", "b"])
    book.score({"a": 1.0, "b": 2.0})
    rig.connect(book.engine)
    book.sync(rig)
    with serving(book.engine) as service:
        api = open_label_studio(rig.url, rig.settings)
        set_hook(book.engine, book.target().id, SECRET)
        for _ in range(2):  # connecting twice makes no second hook
            add_hook(api, int(rig.project), f"{service.url}/v1/hooks/{DATASET}", SECRET)
        assert len(api.get("/api/webhooks/", project=rig.project)) == 1
        given = rig.answer(rig.find("a"), "reject", reason="Unsafe")
        wait_for(lambda: rung(book.engine) and bool(service.rings))  # which rings after it has answered
        assert book.sync(rig).pulled.decisions == 1
        assert not rung(book.engine)
        rig.delete(given)
        wait_for(lambda: rung(book.engine))
        assert book.sync(rig).pulled.decisions == 1


def test_forged_doubled_late_and_lost_hooks_change_nothing(rig: LabelStudioRig, ledger: Engine) -> None:
    book = Ledger(ledger)
    book.ingest(["a"])
    book.score({"a": 1.0})
    rig.connect(book.engine)
    book.sync(rig)
    rig.answer(rig.find("a"), "approve")  # its hook is lost: there is none yet
    assert book.sync(rig).pulled.decisions == 1
    set_hook(book.engine, book.target().id, SECRET)
    forged = {"action": "ANNOTATION_CREATED", "annotation": {"result": [{"value": {"choices": ["Reject"]}}]}}
    with serving(book.engine) as service:

        def hook(name: str = DATASET, **headers: str) -> int:
            url = f"{service.url}/v1/hooks/{name}"
            return httpx.post(
                url, json=forged, headers=headers, timeout=PATIENCE, trust_env=False
            ).status_code

        assert [hook(), hook(**{"X-Curation-Secret": "wrong"}), hook("nobody")] == [401, 401, 401]
        assert not rung(book.engine)
        assert not service.rings
        right = {"X-Curation-Secret": SECRET}
        assert [hook(**right), hook(**right)] == [204, 204]
        assert rung(book.engine)
        assert book.sync(rig).pulled.decisions == 0
        assert hook(**right) == 204  # late: it is all known already
        assert book.sync(rig).pulled.decisions == 0
        too_long = httpx.post(
            f"{service.url}/v1/hooks/{DATASET}",
            content=b"x" * (17 * 2**20),
            headers=right,
            timeout=PATIENCE,
            trust_env=False,
        )
        assert too_long.status_code == 413
        statuses = {hook(**{"X-Curation-Secret": str(i)}) for i in range(30)}
        assert statuses == {401, 429}
        assert hook(**right) == 204  # whoever guesses locks nobody out

"""A worker that looks after labeling platforms, with a real Label Studio, a real broker and the real commands."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from curation.ledger.decisions import decisions_on
from curation.ledger.engine import reading
from curation.ledger.targets import find_target
from tests.label_studio.rig import LabelStudioRig
from tests.label_studio.server import LabelStudio
from tests.platforms.rig import Ledger
from tests.servers import Redis
from tests.workers.harness import Fleet, Node
from tests.workers.test_real_model import PROGRAM, curation


@pytest.fixture
def rig(label_studio: LabelStudio) -> LabelStudioRig:
    return LabelStudioRig(label_studio)


def start(fleet: Fleet, rig: LabelStudioRig, *command: str) -> None:
    log = fleet.folder / f"{'-'.join(command)}.log"
    env = fleet.environment() | {"CURATION_LABEL_STUDIO_TOKEN": rig.server.token}
    process = subprocess.Popen(
        [PROGRAM, *command],
        env=env,
        cwd=fleet.folder,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        text=True,
    )
    fleet.nodes.append(Node(process, log))


def decided(book: Ledger, question: str) -> list[str]:
    pk = book.pk(question)
    with reading(book.engine) as conn:
        return [d.verdict for d in decisions_on(conn, book.dataset_id, [pk]).get(pk, [])]


def target(fleet: Fleet) -> Any:
    with reading(fleet.engine) as conn:
        return find_target(conn)


@pytest.mark.timeout(600)
def test_samples_go_out_and_decisions_come_in_by_themselves(
    postgres_fleet: Fleet, rig: LabelStudioRig, redis: Redis
) -> None:
    fleet = postgres_fleet
    book = Ledger(fleet.engine)
    book.ingest(["a", "b", "c"])
    book.score({"a": 1.0, "b": 3.0, "c": 2.0})
    rig.connect(fleet.engine)
    start(fleet, rig, "worker", "--platforms")
    fleet.wait(lambda: target(fleet).shown is not None, "the order on the platform")
    assert rig.listed() == ["b", "c", "a"]
    rig.answer(rig.find("c"), "reject", reason="Unsafe")
    # nobody rings: the worker looks by itself
    fleet.wait(lambda: decided(book, "c") == ["reject"], "the decision")
    redis.client().flushall()
    rig.answer(rig.find("b"), "approve")
    fleet.wait(lambda: decided(book, "b") == ["approve"], "the decision after the broker was emptied")
    told = curation(fleet, "status")
    (listed,) = told["targets"]
    assert listed["since_pull"] < 120
    assert listed["trouble"] is None
    assert [w["device"] for w in told["workers"]] == ["labeling platforms"]
    assert redis.client().llen("platforms") <= 1

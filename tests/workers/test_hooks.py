"""A fleet tells hooks by itself: real worker, real broker, a real receiver that is down at first."""

from __future__ import annotations

import subprocess

from curation.ledger.engine import reading
from curation.ledger.hooks import add_hook, list_hooks
from tests.receiver import receiver
from tests.workers.harness import Fleet, Node
from tests.workers.test_real_model import PROGRAM


def test_risky_samples_are_announced_by_the_platforms_worker(postgres_fleet: Fleet) -> None:
    fleet = postgres_fleet
    scorer_id = fleet.serve(seconds=0.0)
    fleet.ingest(str(i) for i in range(60))
    fleet.start()
    fleet.wait_until_scored(scorer_id)
    with receiver() as kept:
        kept.answers = [503]
        _, secret = add_hook(fleet.engine, kept.url, None, "critical")
        log = fleet.folder / "platforms.log"
        env = fleet.environment() | {"CURATION_HOOKS_PRIVATE": "true"}
        command = [PROGRAM, "worker", "--platforms"]
        process = subprocess.Popen(
            command, env=env, cwd=fleet.folder, stdout=log.open("w"), stderr=subprocess.STDOUT, text=True
        )
        fleet.nodes.append(Node(process, log))
        fleet.wait(lambda: len(kept.received) > 1, "a second try")
        first, again = kept.messages(secret)
    assert kept.names()[0] == kept.names()[1]
    assert first == again
    assert first["data"]["counts"] == {"critical": 2}
    fleet.wait(lambda: delivered(fleet), "the delivery to be noted")
    assert "answered 503" in log.read_text()
    assert kept.url not in log.read_text()


def delivered(fleet: Fleet) -> bool:
    with reading(fleet.engine) as conn:
        (hook,) = list_hooks(conn)
    return hook.waiting == 0 and hook.failures == 0

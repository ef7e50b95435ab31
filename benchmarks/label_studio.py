"""What a push, a re-score and a poll of Label Studio cost, beside the server's own bulk requests.

    python -m benchmarks.label_studio [--samples 10000] [--out FILE.json]

Starts the Label Studio that the tests use (`make label-studio`), on SQLite. In one project the plain requests are
made: one import of tasks, one import of predictions, every page of tasks. In another one a target is pushed, re-scored
by another scorer and polled. What is compared is the CPU time of the server, which other programs on the machine
disturb less than the time on the clock.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from benchmarks.measure import parser, write
from benchmarks.server_cpu import measured
from curation.ledger import connect, upgrade
from curation.ledger.samples import add_samples
from curation.ledger.targets import hold
from curation.platforms.opening import open_platform
from curation.reconcile.pull import pull
from tests.label_studio.rig import LabelStudioRig
from tests.label_studio.server import OwnLabelStudio
from tests.platforms.rig import DATASET, Ledger, pair


def bare(server: OwnLabelStudio, n: int, into: dict[str, object]) -> tuple[float, float, float]:
    """The server's own bulk requests on a project of their own."""
    choice = '<Choices name="c" toName="t"><Choice value="a"/></Choices>'
    config = f'<View><Text name="t" value="$response"/>{choice}</View>'
    made = server.owner.post("/api/projects/", json={"title": "bare", "label_config": config})
    project = made.raise_for_status().json()["id"]
    tasks = [{"data": {"instruction": f"question {i}", "response": text(i)}} for i in range(n)]
    ids: list[int] = []

    def create() -> None:
        path = f"/api/projects/{project}/import"
        answer = server.owner.post(path, params={"return_task_ids": "true"}, json=tasks, timeout=900)
        ids.extend(answer.raise_for_status().json()["task_ids"])

    def predict() -> None:
        body = [{"task": i, "score": 0.5, "result": [], "model_version": "bare"} for i in ids]
        path = f"/api/projects/{project}/import/predictions"
        server.owner.post(path, json=body, timeout=900).raise_for_status()

    return (
        measured(server.server, "bare: import tasks", create, into),
        measured(server.server, "bare: import predictions", predict, into),
        measured(server.server, "bare: read all tasks", lambda: list(server.tasks(str(project))), into),
    )


def text(i: int) -> str:
    return f"answer {i} " + "and some more words " * 20


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--samples", type=int, default=10_000)
    args = arguments.parse_args()
    n: int = args.samples
    found: dict[str, object] = {"samples": n}
    with tempfile.TemporaryDirectory() as folder:
        server = OwnLabelStudio(Path(folder))
        server.start()
        try:
            imported, predicted, read = bare(server, n, found)
            engine = connect(f"sqlite:///{folder}/ledger.db")
            upgrade(engine)
            book = Ledger(engine)
            add_samples(engine, DATASET, [pair(f"question {i}", text(i), i) for i in range(n)])
            draw = random.Random(1)
            pks = {f"question {i}": i + 1 for i in range(n)}
            book.pk = pks.__getitem__  # type: ignore[method-assign]
            book.score({question: draw.gauss(0, 0.02) for question in pks}, "a")
            rig = LabelStudioRig(server)
            rig.connect(engine)
            pushed = measured(server.server, "push", lambda: book.sync(rig), found)
            measured(server.server, "push again, reads its own tasks", lambda: book.sync(rig), found)
            again = measured(server.server, "push once more", lambda: book.sync(rig), found)
            book.score({question: draw.gauss(0, 0.02) for question in pks}, "b")
            rescored = measured(server.server, "push of a new scorer", lambda: book.sync(rig), found)

            def poll() -> None:
                with hold(engine, book.target().id, 120) as held:
                    held.note(cursor=None)
                with hold(engine, book.target().id, 120) as held:
                    pull(held, open_platform(held.target, rig.settings))

            polled = measured(server.server, "poll of everything", poll, found)
        finally:
            server.close()
    ratios = {
        "push / (import tasks + predictions)": round(pushed / (imported + predicted), 2),
        "new scorer / import predictions": round(rescored / predicted, 2),
        "poll / read all tasks": round(polled / read, 2),
        "nothing changed / push": round(again / pushed, 3),
    }
    for name, ratio in ratios.items():
        print(f"{name:<38} x{ratio}")
    obtained = "one run of this script on a shared machine; server CPU time is what is compared"
    write(args.out, obtained, found | {"ratios of server CPU time": ratios})


if __name__ == "__main__":
    main()

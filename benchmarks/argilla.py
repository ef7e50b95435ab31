"""What a push, a re-score and a poll of Argilla cost, beside the server's own bulk requests.

    python -m benchmarks.argilla [--samples 10000] [--out FILE.json]

Starts the Argilla that the tests use (`make argilla`), with OpenSearch. In one dataset the plain requests are made:
records in bulk as large as we send them, their metadata in bulk, all records read. In another one a target is pushed,
re-scored by another scorer and polled. What is compared is the CPU time of the server without its search engine.
"""

from __future__ import annotations

import random
import tempfile
import uuid
from pathlib import Path
from typing import Any

from benchmarks.measure import parser, write
from benchmarks.server_cpu import measured
from curation.ledger import connect, upgrade
from curation.ledger.samples import add_samples
from tests.argilla.rig import ArgillaRig
from tests.argilla.server import OwnArgilla
from tests.platforms.rig import DATASET, Ledger, pair

BATCH = 250


def bare(server: OwnArgilla, n: int, into: dict[str, object]) -> tuple[float, float, float]:
    """The server's own bulk requests on a dataset of their own."""
    http = server.owner
    workspace = server.workspace()["id"]
    body: dict[str, Any] = {"name": uuid.uuid4().hex, "workspace_id": workspace}
    dataset = http.post("/datasets", json=body).raise_for_status().json()["id"]
    field = {
        "name": "chat",
        "title": "chat",
        "required": True,
        "settings": {"type": "chat", "use_markdown": False},
    }
    http.post(f"/datasets/{dataset}/fields", json=field).raise_for_status()
    options = [{"value": "approve", "text": "a"}, {"value": "reject", "text": "r"}]
    question = {"name": "q", "title": "q", "required": True,
                "settings": {"type": "label_selection", "options": options}}  # fmt: skip
    http.post(f"/datasets/{dataset}/questions", json=question).raise_for_status()
    risk = {"name": "risk", "title": "risk", "settings": {"type": "float"}, "visible_for_annotators": False}
    http.post(f"/datasets/{dataset}/metadata-properties", json=risk).raise_for_status()
    http.put(f"/datasets/{dataset}/publish").raise_for_status()

    def put(items: list[dict[str, Any]]) -> None:
        for start in range(0, n, BATCH):
            path = f"/datasets/{dataset}/records/bulk"
            http.put(path, json={"items": items[start : start + BATCH]}, timeout=600).raise_for_status()

    def read() -> None:
        for offset in range(0, n, 1000):
            params = {"include": "responses", "limit": 1000, "offset": offset}
            http.get(f"/datasets/{dataset}/records", params=params, timeout=600).raise_for_status()

    turns = [
        [{"role": m.role, "content": m.content} for m in pair(f"q {i}", text(i), i).messages]
        for i in range(n)
    ]
    new = [{"external_id": str(i), "fields": {"chat": turn}} for i, turn in enumerate(turns)]
    scored = [{"external_id": str(i), "metadata": {"risk": i / n}} for i in range(n)]
    return (
        measured(server.server, "bare: put records", lambda: put(new), into),
        measured(server.server, "bare: put metadata", lambda: put(scored), into),
        measured(server.server, "bare: read all records", read, into),
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
        server = OwnArgilla(Path(folder))
        try:
            server.start()
            created, updated, _ = bare(server, n, found)
            engine = connect(f"sqlite:///{folder}/ledger.db")
            upgrade(engine)
            book = Ledger(engine)
            add_samples(engine, DATASET, [pair(f"question {i}", text(i), i) for i in range(n)])
            draw = random.Random(1)
            pks = {f"question {i}": i + 1 for i in range(n)}
            book.pk = pks.__getitem__  # type: ignore[method-assign]
            book.score({question: draw.gauss(0, 0.02) for question in pks}, "a")
            rig = ArgillaRig(server)
            rig.connect(engine)
            pushed = measured(server.server, "push", lambda: book.sync(rig), found)
            measured(server.server, "push again, reads its own records", lambda: book.sync(rig), found)
            again = measured(server.server, "push once more", lambda: book.sync(rig), found)
            book.score({question: draw.gauss(0, 0.02) for question in pks}, "b")
            rescored = measured(server.server, "push of a new scorer", lambda: book.sync(rig), found)
        finally:
            server.close()
    ratios = {
        "push / (put records + metadata)": round(pushed / (created + updated), 2),
        "new scorer / put metadata": round(rescored / updated, 2),
        "nothing changed / push": round(again / pushed, 3),
    }
    for name, ratio in ratios.items():
        print(f"{name:<38} x{ratio}")
    obtained = "one run of this script on a shared machine; server CPU time is what is compared"
    write(args.out, obtained, found | {"ratios of server CPU time": ratios})


if __name__ == "__main__":
    main()

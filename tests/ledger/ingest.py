"""A process that ingests, for tests: `python -m tests.ledger.ingest URL N CHUNK forwards|backwards DIE_AT`.

It says that it is ready, waits for a line, then ingests. At its statement number DIE_AT (0: never) it is
killed on the spot.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator

from sqlalchemy import event

from curation.ledger import add_samples, open_ledger
from curation.samples.sample import Sample
from tests.ledger.builders import sample


def stream(n: int) -> Iterator[Sample]:
    """`n` rows over three files, about a third of which repeat another."""
    for i in range(n):
        yield sample(str(i * i % (n * 2 // 3)), i // 3 + 1, file=f"{i % 3}.jsonl", row=i)


def main(url: str, n: int, chunk: int, order: str, die_at: int) -> None:
    samples = list(stream(n))[:: 1 if order == "forwards" else -1]
    engine = open_ledger(url)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    statements = itertools.count(1)

    def execute(*_: object) -> None:
        if next(statements) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "before_cursor_execute", execute)
    add_samples(engine, "d", samples, chunk)


if __name__ == "__main__":
    url, n, chunk, order, die_at = sys.argv[1:]
    main(url, int(n), int(chunk), order, int(die_at))

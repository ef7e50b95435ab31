"""What the benchmarks of labeling platforms share: the CPU time that a server spends on some work."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from tests.servers import Program


def measured(server: Program, what: str, work: Callable[[], object], into: dict[str, object]) -> float:
    """Seconds of the server's CPU time that some work takes; printed and kept with the time on the clock."""
    start, before = time.monotonic(), cpu(server)
    work()
    took, used = time.monotonic() - start, cpu(server) - before
    print(f"{what:<34} {took:7.1f} s   server {used:7.1f} s CPU", flush=True)
    into[what] = {"seconds": round(took, 1), "server_cpu_seconds": round(used, 1)}
    return used


def cpu(server: Program) -> float:
    process = psutil.Process(server.pid)
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))

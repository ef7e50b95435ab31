"""The database may be restarted in the middle of anything, or have no room left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from curation.ledger import connect, upgrade
from tests import servers
from tests.workers.harness import PATIENCE, Fleet


def test_a_database_restarted_at_once_again_and_again(redis: servers.Redis, tmp_path: Path) -> None:
    with servers.own_postgres() as server, servers.database(server.get_uri()) as url:
        engine = connect(url)
        upgrade(engine)
        fleet = Fleet(engine, url, redis.url, tmp_path)
        try:
            fleet.ingest(str(i) for i in range(1200))
            scorer_id = fleet.serve(batch=8, seconds=0.05)
            fleet.workers(2)
            for _ in range(5):
                time.sleep(1.5)
                postmaster = psutil.Process(server.get_pid())
                # what pg_ctl calls immediate: no clean-up, crash recovery
                postmaster.send_signal(signal.SIGQUIT)
                postmaster.wait(PATIENCE)
                server.start()
            engine.dispose()
            fleet.wait_until_scored(scorer_id)
            fleet.check(scorer_id)
        finally:
            fleet.close()
            engine.dispose()


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a file system of a given size can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_stops_a_sqlite_fleet_and_harms_nothing(
    small_disk: Path, redis: servers.Redis, tmp_path: Path
) -> None:
    url = f"sqlite:///{small_disk}/ledger.db"
    engine = connect(url)
    upgrade(engine)
    fleet = Fleet(engine, url, redis.url, tmp_path)
    try:
        fleet.ingest(str(i) for i in range(1000))
        scorer_id = fleet.serve(batch=16, seconds=0.05)
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        (node,) = fleet.workers(1)
        fleet.wait(lambda: "full" in node.log.read_text(), "the worker noticing")
        assert fleet.settled(scorer_id) < 1000
        ballast.unlink()
        fleet.wait_until_scored(scorer_id)
        fleet.check(scorer_id)
    finally:
        fleet.close()
        engine.dispose()

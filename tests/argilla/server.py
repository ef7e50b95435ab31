"""A real Argilla server for tests, with the search engine, the Redis and the worker it needs; all on loopback."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.servers import Program, Redis, StartError, free_port

# where tests.argilla.install puts everything
HOME = Path(sys.prefix) / "servers" / "argilla"
PYTHON = HOME / "venv" / "bin" / "python"
DATABASE = HOME / "argilla.db"
API_KEY = "owner.apikey"
PASSWORD = "12345678"

# JVM options for a quick start rather than long work
JAVA = ["java", "-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]


@dataclass(frozen=True)
class User:
    id: str
    username: str
    password: str
    api_key: str


class Argilla:
    """A running Argilla: where it is, the key of its owner, and what a test needs around its dataset."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key

    def client(self, api_key: str | None = None) -> httpx.Client:
        """A client of /api/v1 for the owner, or for whom the key belongs to."""
        headers = {"X-Argilla-Api-Key": api_key or self.api_key}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=120, trust_env=False)

    @cached_property
    def owner(self) -> httpx.Client:
        return self.client()

    def answers(self) -> bool:
        try:
            return self.owner.get("/version").is_success
        except httpx.TransportError:
            return False

    def workspace(self) -> dict[str, Any]:
        """A new workspace, so that tests do not meet each other's datasets: its id and its name."""
        return self._post("/workspaces", {"name": f"test-{uuid.uuid4().hex[:12]}"})

    @cached_property
    def annotators(self) -> list[User]:
        """Two for all tests, who see what they are let into: a password takes the server a second to hash."""
        return [self.annotator() for _ in range(2)]

    def let_in(self, user: User, workspace: str) -> None:
        self._post(f"/workspaces/{workspace}/users", {"user_id": user.id})

    def annotator(self, *workspaces: str, role: str = "annotator") -> User:
        """A new user who sees the workspaces with these ids; can sign in on the page with name and password."""
        name = f"{role}-{uuid.uuid4().hex[:12]}"
        made = self._post(
            "/users", {"first_name": name, "username": name, "password": PASSWORD, "role": role}
        )
        user = User(made["id"], name, PASSWORD, made["api_key"])
        for workspace in workspaces:
            self.let_in(user, workspace)
        return user

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.owner.post(path, json=body).raise_for_status().json()


class OwnArgilla(Argilla):
    """An Argilla that a test may stop, kill and start: `server`, `engine`, `worker`, and `redis`.

    The server keeps its address, and both keep their data in the folder, over a restart. The worker sends webhooks
    and is not started before a test asks for it. Redis forgets everything with `kill`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"http://127.0.0.1:{free_port()}", API_KEY)
        if not DATABASE.exists():
            raise StartError("it is not installed; `make argilla` installs it or says why it cannot")
        if not shutil.which("java"):
            raise StartError("there is no java on the PATH, which the search engine needs")
        shutil.copy(DATABASE, folder)
        self._folder = folder
        self.engine_url = f"http://127.0.0.1:{free_port()}"
        classes = f"{HOME}/opensearch:{HOME}/opensearch/*"
        port = self.engine_url.rpartition(":")[2]
        self.engine = Program(
            [*JAVA, "-cp", classes, "OpenSearchMain", port, str(folder / "opensearch")],
            dict(os.environ),
            folder / "opensearch.log",
            self._engine_answers,
        )
        self.redis = Redis(folder)
        self.server = self._serve("argilla_server:app", {})
        self.worker = Program(
            [str(PYTHON), "-m", "argilla_server", "worker", "--num-workers", "1"],
            self._environment(),
            folder / "worker.log",
            self._worker_listens,
        )

    def start(self) -> None:
        self.engine.start()
        self.server.start()

    @contextmanager
    def serving(self, app: str, **env: str) -> Generator[None]:
        """Another ASGI application around the server, on the same address and data, while the context lasts."""
        self.server.stop()
        other = self._serve(app, env)
        try:
            other.start()
            yield
        finally:
            other.kill()
            self.server.start()

    def close(self) -> None:
        for program in (self.worker, self.server, self.engine):
            program.kill()
        self.redis.kill()

    def start_worker(self) -> None:
        """Start the worker unless it runs already."""
        if not self.worker.running:
            # one that was killed is still listed
            self.redis.client().delete("rq:workers")
            self.worker.start()

    def _serve(self, app: str, env: dict[str, str]) -> Program:
        host, port = self.url.removeprefix("http://").split(":")
        options = f"--host {host} --port {port} --no-access-log".split()
        command = [str(PYTHON), "-m", "uvicorn", app, *options]
        return Program(command, self._environment() | env, self._folder / "argilla.log", self.answers)

    def _environment(self) -> dict[str, str]:
        engines = {"ARGILLA_ELASTICSEARCH": self.engine_url, "ARGILLA_REDIS_URL": self.redis.url}
        return environment(self._folder) | engines

    def _engine_answers(self) -> bool:
        try:
            # red: it has yet to find its indices after a restart
            health = httpx.get(f"{self.engine_url}/_cluster/health", timeout=120, trust_env=False)
            return health.is_success and health.json()["status"] != "red"
        except httpx.TransportError:
            return False

    def _worker_listens(self) -> bool:
        return bool(self.redis.client().scard("rq:workers"))


def environment(folder: Path) -> dict[str, str]:
    """What Argilla's own commands need to keep everything in the folder and to call nobody."""
    return {
        **os.environ,
        "ARGILLA_HOME_PATH": str(folder),
        "ARGILLA_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/{DATABASE.name}?check_same_thread=False",
        "ARGILLA_SEARCH_ENGINE": "opensearch",
        # a random one for each process would end all sessions with a restart
        "ARGILLA_AUTH_SECRET_KEY": "a key for tests that is always the same",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }

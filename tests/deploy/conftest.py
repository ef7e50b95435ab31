"""docker-compose.yml as Compose itself reads it, and the secrets that its template makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

Service = dict[str, Any]


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The file with all profiles, checked and resolved by `docker compose config`, which needs no engine."""
    if not (BIN / "docker-compose").exists():
        pytest.skip("there is no package of docker-compose for this machine")
    command = [BIN / "docker-compose", "--file", ROOT / "docker-compose.yml", "--profile", "*", "config"]
    read = subprocess.run([*command, "--format", "json"], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout)


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    return compose["services"]


@pytest.fixture(scope="session")
def ours(services: dict[str, Service]) -> dict[str, Service]:
    """The services that run this program."""
    return {name: service for name, service in services.items() if service["image"].startswith("curation:")}


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fresh secrets."""
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    make_secrets(folder)
    return folder


def make_secrets(folder: Path) -> None:
    subprocess.run(["sh", ROOT / "deploy" / "secrets.sh", folder], check=True)

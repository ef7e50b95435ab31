"""What docker-compose.yml must keep to, whatever is added to it."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

from curation import __version__
from curation.settings import Settings
from tests.deploy.conftest import ROOT, Service, make_secrets


def test_every_image_is_pinned(services: dict[str, Service], ours: dict[str, Service]) -> None:
    tags = {name: service["image"].rpartition(":")[2] for name, service in services.items()}
    assert {name: tag for name, tag in tags.items() if not re.match(r"v?\d+\.\d+\.?\d*", tag)} == {}
    assert {tags[name] for name in ours} == {f"{__version__}-cpu", f"{__version__}-gpu"}


def test_our_images_are_built_with_the_torch_that_their_tag_names(ours: dict[str, Service]) -> None:
    built = {
        service["image"].rpartition("-")[2]: service["build"]["args"]["TORCH"] for service in ours.values()
    }
    assert built == {"cpu": "cpu", "gpu": "gpu"}
    assert all((ROOT / "locks" / f"{torch}.txt").exists() for torch in built.values())


def test_what_is_waited_for_can_be_waited_for(services: dict[str, Service]) -> None:
    waits = [
        (services[awaited], wait["condition"])
        for service in services.values()
        for awaited, wait in service.get("depends_on", {}).items()
    ]
    assert {condition for _, condition in waits} == {"service_healthy", "service_completed_successfully"}
    assert all(awaited["healthcheck"]["test"] for awaited, how in waits if how == "service_healthy")
    assert all(awaited["restart"] == "no" for awaited, how in waits if how != "service_healthy")


def test_the_template_makes_every_secret_and_no_other(compose: dict[str, Any], secrets: Path) -> None:
    files = {name: Path(secret["file"]) for name, secret in compose["secrets"].items()}
    assert all(file == ROOT / "deploy" / "secrets" / name for name, file in files.items())
    assert {file.name for file in secrets.iterdir()} == set(files)
    assert all(file.read_text() for file in secrets.iterdir())


def test_secrets_are_made_once_and_for_their_owner(secrets: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    make_secrets(secrets)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700


def test_our_secrets_are_settings(ours: dict[str, Service]) -> None:
    given = {secret["source"] for service in ours.values() for secret in service["secrets"]}
    assert {name.removeprefix("curation_") for name in given} <= set(Settings.model_fields)


def test_only_this_machine_reaches_a_port(services: dict[str, Service]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}


def test_what_holds_data_has_no_way_out(compose: dict[str, Any], services: dict[str, Service]) -> None:
    internal = {name for name, network in compose["networks"].items() if network.get("internal")}
    for name in ("postgres", "redis", "argilla-search", "argilla-redis"):
        assert set(services[name]["networks"]) <= internal


def test_our_containers_may_do_little(ours: dict[str, Service]) -> None:
    for service in ours.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_all_but_the_one_that_ends_are_started_again(services: dict[str, Service]) -> None:
    policies = {name: service["restart"] for name, service in services.items()}
    assert policies.pop("migrate") == "no"
    assert set(policies.values()) == {"unless-stopped"}


def test_only_a_gpu_worker_asks_for_a_gpu(services: dict[str, Service]) -> None:
    asking = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in services.items()
        if "deploy" in service
    }
    assert asking == {"worker-gpu": [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]}

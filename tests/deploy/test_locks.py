"""The tested versions: constraints.txt, and with hashes what an image installs. `make lock` writes them all."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from curation.sqsd import models
from tests.deploy.conftest import ROOT

LOCKS = ("cpu", "gpu", "build", "demo-model")
ENVIRONMENT = {"python_version": "3.11", "python_full_version": "3.11.15", "sys_platform": "linux",
               "platform_machine": "x86_64", "platform_system": "Linux"}  # fmt: skip


def read_lock(name: str) -> dict[str, tuple[Version, list[str]]]:
    """Version and hashes by package."""
    text = (ROOT / "locks" / f"{name}.txt").read_text().replace("\\\n", "")
    lines = [line.split(" --hash=") for line in text.splitlines() if not line.startswith("#")]
    pins = [(pin.split(";")[0].strip().split("=="), hashes) for pin, *hashes in lines]
    return {name: (Version(version), [h.strip() for h in hashes]) for (name, version), hashes in pins}


@pytest.fixture(scope="module")
def constraints() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split(";")[0].strip().split("==") for line in lines if not line.startswith("#")]
    return {name: Version(version) for name, version in pins}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_nothing_but_pins_and_hashes(name: str) -> None:
    """No address of an index: where packages come from is for whoever installs."""
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    assert not re.search(r"://|--(extra-)?index|--find-links| @ ", text)
    found = read_lock(name)
    assert found
    assert all(hashes for _, hashes in found.values())
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for _, hashes in found.values() for h in hashes)


@pytest.mark.parametrize("name", [name for name in LOCKS if name != "demo-model"])
def test_a_lock_agrees_with_the_constraints(name: str, constraints: dict[str, Version]) -> None:
    locked = {package: Version(version.public) for package, (version, _) in read_lock(name).items()}
    assert locked == {package: constraints.get(package) for package in locked}


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_lock_has_all_that_the_package_and_its_extras_ask_for(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked = {package: version for package, (version, _) in read_lock(name).items()}
    assert _unmet([*project["dependencies"], *(r for some in extras.values() for r in some)], locked) == []


def test_the_extra_all_has_all_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert Requirement(extras.pop("all")[0]).extras == set(extras)


def test_the_constraints_have_all_that_the_tools_ask_for(constraints: dict[str, Version]) -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    asked = [r for some in groups.values() for r in some if isinstance(r, str)]
    assert _unmet(asked, constraints) == []


def test_one_lock_is_for_cpus_and_the_other_for_cuda() -> None:
    cpu, gpu = read_lock("cpu"), read_lock("gpu")
    assert (cpu["torch"][0].local, gpu["torch"][0].local) == ("cpu", None)
    only = set(gpu) - set(cpu)
    assert only
    assert all(name.startswith(("nvidia-", "cuda-")) or name == "triton" for name in only)


def test_the_demo_model_is_the_one_that_the_code_knows() -> None:
    [(name, (version, _))] = read_lock("demo-model").items()
    assert (name, str(version)) == (models._PACKAGE, models._PACKAGE_VERSION)


def _unmet(asked: Iterable[str], locked: dict[str, Version]) -> list[str]:
    """Requirements that a Linux machine has and that the pins do not meet."""
    requirements = [Requirement(line) for line in asked]
    return [
        str(r)
        for r in requirements
        if r.name != "curation"
        and (r.marker is None or r.marker.evaluate(ENVIRONMENT))
        and not ((pin := locked.get(canonicalize_name(r.name))) and r.specifier.contains(pin))
    ]

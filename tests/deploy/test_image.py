"""The Dockerfile, as far as it can be tried without an engine: a linter, what it copies, and the wheel it builds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from curation import __version__
from tests.deploy.conftest import BIN, ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile copies out of the build context, in a folder of its own."""
    folder = tmp_path_factory.mktemp("context")
    copied = [line.split()[1:-1] for line in re.findall(r"^COPY (?!--from).*$", DOCKERFILE, re.MULTILINE)]
    sources = [source for line in copied for source in line]
    assert "curation/" in sources
    for source in sources:
        if source.endswith("/"):
            shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(context: Path) -> Path:
    """Built by the Dockerfile's own command."""
    [command] = re.findall(r"/opt/build/bin/python (-m build .*?) \\$", DOCKERFILE, re.MULTILINE)
    done = subprocess.run([sys.executable, *command.split()], cwd=context, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = (context / "dist").glob("*.whl")
    return built


def test_the_linter_has_nothing_to_say() -> None:
    linted = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (linted.stdout, linted.returncode) == ("", 0)


def test_the_context_holds_what_is_copied_and_no_secret(context: Path) -> None:
    """The list of what Docker may see is a list of exceptions."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == {
        path.name for path in context.iterdir()
    } - {"dist"}


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001"]


@pytest.mark.slow
def test_the_wheel_holds_all_files_of_the_packages(context: Path, wheel: Path) -> None:
    """Assets, templates, pages, py.typed: what is no code is as easily forgotten as it is needed."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (("curation", ""), ("workers", ""), ("migrations", "curation/")):
        files = {path.relative_to(context) for path in (context / folder).rglob("*") if path.is_file()}
        assert {f"{inside}{path}" for path in files} <= names
    assert {"curation/py.typed", f"curation-{__version__}.dist-info/licenses/LICENSE"} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "deploy/"))]


@pytest.mark.slow
def test_the_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """`make build` makes the archive, and the wheel out of it."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    [archive], [made] = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"tests/deploy/test_image.py", "deploy/secrets.sh", "docker-compose.yml", "locks/cpu.txt"} <= names
    assert set(zipfile.ZipFile(made).namelist()) == set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_the_wheel_runs_where_there_is_no_checkout(wheel: Path, tmp_path: Path) -> None:
    """In an environment with the packages of this one, but for this project."""
    venv.create(tmp_path / "new", with_pip=False, symlinks=True)
    python = tmp_path / "new" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    [site] = (tmp_path / "new").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))

    def run(*command: str) -> str:
        env = {"CURATION_HOME": str(tmp_path), "PATH": str(python.parent)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(str(python), "-c", "import curation, workers; print(curation.__file__, workers.__file__)")
    assert all(path.startswith(str(site)) for path in where.split())
    curation = str(python.with_name("curation"))
    assert run(curation, "--version") == f"curation {__version__}\n"
    assert "empty ->" in run(curation, "db", "upgrade")  # the migrations are found

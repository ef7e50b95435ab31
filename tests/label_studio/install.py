"""Installs Label Studio for the tests into the environment it runs in: python -m tests.label_studio.install"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.label_studio.server import DATA, HOME, OwnLabelStudio
from tests.servers import install_into

HERE = Path(__file__).parent


def main() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    install_into(HOME / "venv", HERE / "requirements.txt")
    with tempfile.TemporaryDirectory() as folder:
        # the first start takes a minute or two: tables, and the owner
        own = OwnLabelStudio(Path(folder), database={})
        own.start()
        own.server.stop()
        # last, because whoever finds it takes all of it for installed
        shutil.copytree(folder, DATA)


if __name__ == "__main__":
    main()

"""Takes the pictures of the documentation, on the servers that the tests start: python -m docs.screenshots.

Those of docs/tutorial.md need Chromium, Label Studio and Argilla: `make docs-images` installs what is missing. The
commands are those of the tutorial, on the file that ships beside it. `python -m docs.screenshots web` takes those of
docs/web.md alone, which need Chromium and the demo's samples.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.argilla.server import OwnArgilla
from tests.browser import launched
from tests.label_studio.server import EMAIL, PASSWORD, OwnLabelStudio

HERE = Path(__file__).parent
IMAGES = HERE / "images"
DEMO = HERE.parent / "curation" / "assets" / "demo.jsonl"
MAX_BYTES = 200_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        work = Path(folder)
        web(browser, made(work / "web"))
        if sys.argv[1:] == ["web"]:
            return
        shutil.copy(HERE / "examples" / "messy.jsonl", work)
        run = command_in(work)
        run("triage", "messy.jsonl", "--dataset", "support")
        report(browser, work / "curation-report.html")
        label_studio(browser, work, run)
        argilla(browser, work, run)


def command_in(work: Path) -> Callable[..., str]:
    """`run("queue")`: the program in this folder, with a home of its own."""
    environment = os.environ | {"CURATION_HOME": str(work / "home")}

    def run(*args: str, **more: str) -> str:
        command = [sys.executable, "-c", "from curation.cli.main import main; main()", *args]
        done = subprocess.run(  # noqa: S603 - our own program
            command, cwd=work, env=environment | more, stdout=subprocess.PIPE, text=True
        )
        if done.returncode not in (0, 3):
            sys.exit(f"curation {' '.join(args)} failed")
        return done.stdout

    return run


def report(browser: Browser, file: Path) -> None:
    """The top of the report."""
    with page(browser, 1100, 900) as shown:
        shown.goto(file.as_uri())
        keep(shown, "tutorial-report")


def label_studio(browser: Browser, work: Path, run: Callable[..., str]) -> None:
    """The project as its owner sees it, and the first task with its reasons open."""
    with running(OwnLabelStudio(made(work / "label-studio"))) as server:
        token = {"CURATION_LABEL_STUDIO_TOKEN": server.token}
        place = ["--url", server.url, "--project", "Garden shop", "--name", "garden", "--heat"]
        run("connect", "label-studio", *place, **token)
        run("sync", "garden", **token)
        run("heat", "garden", "--top", "3", **token)
        with page(browser, 1400, 800) as shown:
            shown.goto(f"{server.url}/user/login/")
            shown.fill("input[name=email]", EMAIL)
            shown.fill("input[name=password]", PASSWORD)
            shown.click("button[type=submit], [aria-label='Log In']")
            shown.wait_for_url(lambda url: "login" not in url)
            shown.goto(f"{server.url}/projects/1/data")
            shown.get_by_text("Riskiest first").first.click()
            shown.wait_for_selector("text=keep slugs off")
            keep(shown, "label-studio-queue")
            shown.goto(f"{server.url}/projects/1/data?labeling=1")
            shown.wait_for_selector("text=happy to do whatever you ask")
            shown.keyboard.press("r")
            shown.wait_for_selector("text=Unsafe")
            keep(shown, "label-studio-review")
            shown.get_by_text("Where the risk comes from").click()
            shown.wait_for_selector("text=moves the model toward danger")
            shown.set_viewport_size({"width": 1400, "height": 1000})
            keep(shown, "label-studio-heat")


def argilla(browser: Browser, work: Path, run: Callable[..., str]) -> None:
    """The first record as an annotator sees it, its reasons closed."""
    with running(OwnArgilla(made(work / "argilla"))) as server:
        key = {"CURATION_ARGILLA_API_KEY": server.api_key}
        place = ["--url", server.url, "--workspace", "argilla", "--dataset-name", "garden", "--heat"]
        address = run("connect", "argilla", *place, "--name", "garden-argilla", "--json", **key)
        run("sync", "garden-argilla", **key)
        run("heat", "garden-argilla", "--top", "3", **key)
        (workspace,) = server.owner.get("/me/workspaces").raise_for_status().json()["items"]
        annotator = server.annotator(workspace["id"])
        with page(browser, 1400, 900) as shown:
            shown.goto(f"{server.url}/sign-in")
            shown.fill("input[type=text], input[name=username]", annotator.username)
            shown.fill("input[type=password]", annotator.password)
            shown.keyboard.press("Enter")
            shown.wait_for_url(lambda url: "sign-in" not in url)
            shown.goto(json.loads(address)["queue"])
            shown.wait_for_selector(".chat__bubble")
            shown.get_by_text("Reject", exact=True).click()
            keep(shown, "argilla-review")


def web(browser: Browser, work: Path) -> None:
    """The pages of `curation serve` on the demo's samples, some of which two made-up reviewers decided on."""
    run = command_in(work)
    run("triage", str(DEMO), "--dataset", "demo", "--quiet")
    (work / "decisions.csv").write_text(
        "\n".join(decisions(json.loads(run("queue", "--limit", "60", "--json"))))
    )
    run("decide", "--from", "decisions.csv", "--dataset", "demo")
    token = run("token", "create", "ana", "--scope", "review").split()[-1]
    with serving(work) as address, page(browser, 1280, 800) as shown:
        shown.goto(f"{address}/login")
        shown.fill("#token", token)
        shown.click("button.primary")
        shown.goto(f"{address}/queue?dataset=demo")
        keep(shown, "web-queue")
        shown.goto(f"{address}/decisions/agreement?dataset=demo")
        keep(shown, "web-budget")


def decisions(queue: Any) -> Iterator[str]:
    """Lines of a CSV: rejects become rarer with the rank, and the second reviewer sees every tenth otherwise."""
    yield "id,verdict,reviewer,decided_at"
    for rank, item in enumerate(queue["items"]):
        verdict = "reject" if rank * rank % (4 + rank // 6) < 2 else "approve"
        other = {"reject": "approve", "approve": "reject"}[verdict] if rank % 10 == 3 else verdict
        yield f"{item['id']},{verdict},ana,2026-11-20T09:{rank:02}:00Z"
        yield f"{item['id']},{other},bo,2026-11-20T10:{rank:02}:00Z"


@contextmanager
def serving(work: Path) -> Iterator[str]:
    """Address of `curation serve` on the ledger of this folder."""
    command = [sys.executable, "-c", "from curation.cli.main import main; main()", "serve", "--port", "0"]
    environment = os.environ | {"CURATION_HOME": str(work / "home"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@contextmanager
def running(server: Any) -> Iterator[Any]:
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def page(browser: Browser, width: int, height: int) -> Iterator[Page]:
    shown = browser.new_page(viewport={"width": width, "height": height})
    yield shown
    shown.close()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def keep(shown: Page, name: str) -> None:
    """The page as it is, with few enough colours to stay small."""
    shown.wait_for_timeout(500)  # fonts and transitions
    picture = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
    file = IMAGES / f"{name}.png"
    picture.quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
    if file.stat().st_size > MAX_BYTES:
        sys.exit(f"{file} is too large: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

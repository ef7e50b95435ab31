"""A real Label Studio server for tests, on loopback."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from tests.servers import Program, StartError, free_port

# where tests.label_studio.install puts everything
HOME = Path(sys.prefix) / "servers" / "label-studio"
COMMAND = HOME / "venv" / "bin" / "label-studio"
DATA = HOME / "data"
TOKEN = "c" * 40
EMAIL = "owner@example.com"
PASSWORD = "secret12345"


class LabelStudio:
    """A running Label Studio: where it is, its owner's legacy token, and what a test needs around its project."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self.token = token

    def client(self, token: str | None = None) -> httpx.Client:
        """A client for the owner, or for whom the token belongs to."""
        headers = {"Authorization": f"Token {token or self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    @cached_property
    def owner(self) -> httpx.Client:
        return self.client()

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=120, trust_env=False).is_success
        except httpx.TransportError:
            return False

    @cached_property
    def annotator(self) -> tuple[str, str]:
        """A second user beside the owner: email and legacy token. Everybody may work on every project."""
        email = f"{uuid.uuid4().hex[:12]}@example.com"
        with self.session() as page:
            form = {"email": email, "password": PASSWORD, "how_find_us": "", "elaborate": ""}
            self._post_form(page, "/user/signup/", form)
            return email, page.get("/api/current-user/token").raise_for_status().json()["token"]

    def personal_token(self) -> str:
        """A new personal access token of the owner, in place of any before it."""
        with self.session() as page:
            self._post_form(page, "/user/login/", {"email": EMAIL, "password": PASSWORD})
            for old in page.get("/api/token/").raise_for_status().json():
                headers = {"X-CSRFToken": page.cookies["csrftoken"]}
                page.post("/api/token/blacklist/", json={"refresh": old["token"]}, headers=headers)
            return page.post("/api/token/").raise_for_status().json()["token"]

    def session(self) -> httpx.Client:
        """A client like a browser's: it keeps cookies and is nobody yet."""
        return httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def tasks(self, project: str) -> Iterator[dict[str, Any]]:
        """All tasks of a project in the order of their numbers, with annotations and predictions."""
        page = 1
        while True:
            params = {
                "project": project,
                "fields": "all",
                "page": page,
                "page_size": 1000,
                "resolve_uri": "false",
            }
            answer = self.owner.get("/api/tasks/", params=params)
            if answer.status_code == 404:
                return
            found = answer.raise_for_status().json()["tasks"]
            yield from found
            if len(found) < 1000:
                return
            page += 1

    def _post_form(self, page: httpx.Client, path: str, form: dict[str, str]) -> None:
        page.get(path).raise_for_status()
        token = page.cookies["csrftoken"]
        answer = page.post(path, data={**form, "csrfmiddlewaretoken": token}, headers={"Referer": self.url})
        assert answer.status_code == 302, answer.text[:500]


class OwnLabelStudio(LabelStudio):
    """A server that a test may stop, kill and start; it keeps address and data.

    Without a database it begins with a copy of what was installed; one that is named is filled at the first start.
    """

    def __init__(self, folder: Path, database: dict[str, str] | None = None) -> None:
        super().__init__(f"http://127.0.0.1:{free_port()}", TOKEN)
        if not COMMAND.exists() or (database is None and not DATA.exists()):
            raise StartError("it is not installed; `make label-studio` installs it or says why it cannot")
        if database is None:
            shutil.copytree(DATA, folder, dirs_exist_ok=True)
        # the port is free: on a busy one the server would silently take the next
        port = self.url.rpartition(":")[2]
        self.server = Program(
            [str(COMMAND), *START, "--port", port],
            environment(folder) | (database or {}),
            folder / "label-studio.log",
            self.answers,
            patience=400,
        )

    def start(self) -> None:
        self.server.start()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self.server.kill()


def on_postgres(url: str) -> dict[str, str]:
    """The settings of a server that keeps its data in this Postgres database."""
    place = sa.make_url(url)
    named = {"NAME": place.database, "USER": place.username, "PASSWORD": place.password, "HOST": place.host,
             "PORT": place.port}  # fmt: skip
    host = {"HOST": place.query["host"]} if "host" in place.query else {}
    given = {f"POSTGRE_{name}": str(value) for name, value in (named | host).items() if value is not None}
    return {"DJANGO_DB": "default", **given}


START = ["start", "--no-browser", "--internal-host", "127.0.0.1"]


def environment(folder: Path) -> dict[str, str]:
    """What the server needs to keep everything in the folder, to call nobody, and to have an owner at once."""
    return {
        **os.environ,
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_USERNAME": EMAIL,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        # webhooks of the tests ring on loopback
        "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
    }

"""The files that pages fetch: style sheets, a script, an icon. Read once, named after what they hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from curation.service.errors import RequestError

router = APIRouter(include_in_schema=False)

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_SOURCES = {
    "pages.css": (
        ("curation.report", "templates/palette.css"),
        ("curation.report", "templates/pieces.css"),
        ("curation.web", "static/pages.css"),
        ("curation.web", "static/records.css"),
    ),
    "pages.js": (("curation.web", "static/pages.js"),),
    "icon.svg": (("curation.web", "static/icon.svg"),),
}


@dataclass(frozen=True, slots=True)
class Assets:
    """Contents by name. There is no other file that could be asked for."""

    contents: dict[str, bytes]

    @classmethod
    def read(cls) -> Assets:
        return cls(
            {
                name: b"".join(files(package).joinpath(path).read_bytes() for package, path in sources)
                for name, sources in _SOURCES.items()
            }
        )

    def url(self, name: str) -> str:
        """Where it is; another content has another address, so that browsers may keep it for good."""
        return f"/static/{name}?v={hashlib.sha256(self.contents[name]).hexdigest()[:12]}"


@router.get("/static/{name}")
async def asset(name: str, request: Request) -> Response:
    content = request.app.state.room.assets.contents.get(name)
    if content is None:
        raise RequestError(404, "there is no such file", "Load the page again.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)

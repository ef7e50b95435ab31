"""`curation serve`: the ingest and read service."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from curation.cli.console import console
from curation.cli.fleet import bell
from curation.errors import CurationError
from curation.ledger.engine import open_ledger, reading
from curation.ledger.tokens import list_tokens
from curation.settings import get_settings


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
) -> None:
    """Show the pages, take samples and give out the review queue over HTTP, until interrupted.

    On this computer alone (the default), the address that is printed logs you in, once. Everybody else needs a
    token: [b]curation token create NAME --scope review[/b]. What programs may ask is described at /openapi.json.
    """
    create_app, http, local_user = _service()
    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    http.log_to_stderr()
    local = local_user() if _loopback(host) else None
    running = http.server(create_app(engine, settings, bell(settings, engine), local))
    with http.listen(host, port) as socket:
        _say(engine, host, socket.getsockname()[1], local.code if local else None)
        running.run(sockets=[socket])


def _say(engine: Engine, host: str, port: int, code: str | None) -> None:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    console.print(f"listening on http://{address}", markup=False, soft_wrap=True)
    if code:
        console.print(f"log in, once: http://{address}/login#{code}", markup=False, soft_wrap=True)
    with reading(engine) as conn:
        if all(token.revoked_at for token in list_tokens(conn)):
            who = "no program" if code else "nobody"
            console.print(f"{who} may use it yet: curation token create NAME --scope ingest --scope review")
    if not code:
        console.print("tokens and samples travel unencrypted: put a server with TLS in front")


def _service() -> tuple[Any, Any, Any]:
    """The service's parts, which an installation may lack and other commands do not wait for."""
    try:
        from curation.service import server
        from curation.service.app import create_app
        from curation.web.sessions import LocalUser
    except ModuleNotFoundError as error:
        raise CurationError(
            f"the service needs {error.name}, which is not installed", "pip install 'curation[serve]'"
        ) from None
    return create_app, server, LocalUser


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

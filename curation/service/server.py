"""The HTTP server under the service."""

from __future__ import annotations

import logging.config
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from curation.errors import InputError

GRACE_SECONDS = 8
"""How long requests may go on once the service is told to stop: containers are killed after ten seconds."""

_CONNECTIONS = 500
_HEADER_BYTES = 2**14

_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "curation": {"handlers": ["stderr"], "level": "INFO"},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING"},
    },
}


def log_to_stderr() -> None:
    """What the service says of itself, and of the server under it only what is wrong."""
    logging.config.dictConfig(_LOGGING)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; port 0: any free one. Raises InputError if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host} port {port}: {error.strerror}", "Choose another --host or --port."
        ) from None


def server(app: FastAPI, grace: int = GRACE_SECONDS) -> uvicorn.Server:
    """A server that says little, of itself nothing, and does not wait for ever."""
    config = uvicorn.Config(
        app,
        http="h11",  # the one that bounds the size of headers
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # it would show addresses with their queries; the service logs routes itself
        server_header=False,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=grace,
    )
    return uvicorn.Server(config)

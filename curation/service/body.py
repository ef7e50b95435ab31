"""The body of a request as a file: what the readers of samples, which are synchronous, read from."""

from __future__ import annotations

import io
import re

import anyio
from anyio import from_thread
from fastapi import Request

from curation.samples.json_array import is_whole
from curation.samples.rows import BOM
from curation.service.errors import RequestError

IDLE_SECONDS = 60.0
"""How long the sender of a body may pause."""

JSON_CAP = 32 * 2**20
"""Longest JSON body in bytes: that one is held in memory, lines are not."""

_SAMPLES = re.compile(rb'\{\s*"samples"\s*:\s*(?=\[)')


class Body(io.RawIOBase):
    """Read from a worker thread, at most `cap` bytes.

    Each read asks the event loop for the next piece, so nothing is taken off the network before it is wanted:
    a sender faster than the database is slowed down and fills no memory. Raises RequestError if the body is
    longer or stops arriving, and ClientDisconnect if the sender is gone: a cut-off body never looks whole.
    """

    def __init__(self, request: Request, cap: int) -> None:
        if _declared(request) > cap:
            raise _too_large(cap)
        self._pieces = request.stream()
        self._cap = cap
        self._read = 0
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self._rest:
            piece = from_thread.run(self._next)
            self._read += len(piece)
            if self._read > self._cap:
                raise _too_large(self._cap)
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def _next(self) -> bytes:
        """The next piece; empty at the end."""
        try:
            with anyio.fail_after(IDLE_SECONDS):
                return await anext(self._pieces, b"")
        except TimeoutError:
            raise RequestError(
                408,
                f"nothing of the body arrived for {IDLE_SECONDS:.0f} s",
                "Send it again: what is in the ledger already will not count twice.",
            ) from None


def json_array(body: Body) -> io.BytesIO:
    """The list in a JSON body, bare or as `samples` of an object. Raises RequestError (400) for anything else."""
    text = body.readall().removeprefix(BOM).strip()
    if found := _SAMPLES.match(text):
        text = text[found.end() : -1].rstrip() if text.endswith(b"}") else b""
    if not (text.startswith(b"[") and text.endswith(b"]") and is_whole(text)):
        raise RequestError(
            400,
            "the body is not a JSON list of rows",
            'Send [{...}, ...] or {"samples": [{...}, ...]}, or one row per line as application/x-ndjson.',
        )
    return io.BytesIO(text)


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


def _too_large(cap: int) -> RequestError:
    size = f"{cap / 2**20:,.0f} MiB" if cap >= 2**20 else f"{cap:,} bytes"
    return RequestError(
        413,
        f"the body is longer than {size}",
        "Send it in parts. What is in the ledger already will not count twice.",
    )

"""Rows of a JSON array, split without parsing so that one bad element costs only itself.

An incremental parser would end at the first bad element, and pays for nested brackets in memory. Here only
quotes and brackets are followed, and each element goes to the parser JSONL uses, under the same cap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import cast

from curation.samples.rows import ROW_CAP, BadRow, Row, json_row

_CHUNK = 2**16
_STRUCTURE = re.compile(rb'["\[\]{},]')
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


def array_rows(stream: BufferedIOBase) -> Iterator[Row | BadRow]:
    """Elements of the array that starts at the first bracket; `line` is the element's number."""
    splitter = _Splitter()
    count = 0
    # read1, because read loses what it already has when the data breaks off under it
    while chunk := stream.read1(_CHUNK):
        for element in splitter.feed(chunk):
            count += 1
            yield json_row(count, element)
        if splitter.trailing:
            yield BadRow(count + 1, splitter.trailing, "text after the end of the array")
            return
    if not splitter.closed:
        rest = json_row(count + 1, bytes(splitter.element))
        if isinstance(rest, Row):  # whole, only its comma is missing
            yield rest
            rest = BadRow(count + 2, b"", "")
        yield BadRow(rest.line, rest.raw, "the array breaks off: its closing bracket is missing")


def is_whole(array: bytes) -> bool:
    """Whether the brackets close at the end and not before; what is between the commas is not looked at."""
    splitter = _Splitter()
    for _ in splitter.feed(array):
        pass
    return splitter.closed and not splitter.trailing


class _Splitter:
    """Cuts an array into the bytes of its elements; one over the cap comes cut to `ROW_CAP + 1`."""

    def __init__(self) -> None:
        self.element = bytearray()
        self.closed = False
        self.trailing = b""
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._commas = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        if self.closed:
            self.trailing = chunk.strip()
            return
        start = 0
        at = 1 if self._escaped else 0
        self._escaped = False
        while at < len(chunk):
            if self._quoted:
                at = self._string_end(chunk, at)
                continue
            token = _STRUCTURE.search(chunk, at)
            if token is None:
                break
            at = token.end()
            match token[0]:
                case b'"':
                    self._quoted = True
                case b"[" | b"{":
                    self._depth += 1
                    start = at if self._depth == 1 else start
                case b",":
                    if self._depth == 1:
                        self._commas = True
                        yield self._take(chunk[start : at - 1])
                        start = at
                case _:
                    self._depth -= 1
                    if self._depth == 0:
                        self.closed = True
                        last = self._take(chunk[start : at - 1])
                        if last.strip() or self._commas:
                            yield last
                        self.trailing = chunk[at:].strip()
                        return
        self._keep(chunk[start:])

    def _string_end(self, chunk: bytes, at: int) -> int:
        """Where the scan goes on: after the closing quote, or at the end of the chunk."""
        end = cast("re.Match[bytes]", _STRING.match(chunk, at)).end()
        if end < len(chunk):
            self._quoted = chunk[end : end + 1] != b'"'
            self._escaped = self._quoted  # only a backslash at the very end of the chunk stops the match
        return end + 1

    def _keep(self, piece: bytes) -> None:
        self.element += piece[: ROW_CAP + 1 - len(self.element)]

    def _take(self, piece: bytes) -> bytes:
        self._keep(piece)
        element = bytes(self.element)
        self.element.clear()
        return element

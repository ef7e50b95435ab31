"""The one Sample type: a conversation to train on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast, get_args

import orjson

from curation.errors import SampleError

Role = Literal["system", "user", "assistant", "tool"]
Train = Literal["last", "all"]

ROLES: tuple[str, ...] = get_args(Role)
MAX_CHARS = 1_000_000
"""Longest conversation accepted, in characters over all messages. No trainer takes one near it."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sample was read: the file as the user named it and the line (or row) in it, from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Sample:
    """A conversation and which of its assistant turns are trained on.

    A Sample that exists is usable: the constructor raises SampleError for anything else. Metadata and
    source are carried along and take no part in identity or equality.
    """

    messages: tuple[Message, ...]
    train: Train = "last"
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False, hash=False)
    source: Source | None = field(default=None, compare=False, hash=False)

    def __post_init__(self) -> None:
        _check(self.messages)

    @classmethod
    def from_messages(
        cls,
        messages: Sequence[Mapping[str, Any]],
        train: Train = "last",
        metadata: Mapping[str, Any] | None = None,
        source: Source | None = None,
    ) -> Sample:
        """Build from `[{"role": ..., "content": ...}, ...]`; content may be a list of text parts.

        Raises SampleError with the reason if the messages cannot be trained on.
        """
        return cls(tuple(_message(m, i) for i, m in enumerate(messages)), train, metadata or {}, source)

    @cached_property
    def id(self) -> str:
        """SHA-256 (hex) of the canonical messages and of which turns are trained: what a model learns."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Canonical JSON of what identity covers; `from_json` reads it back."""
        body = {"messages": [[m.role, m.content] for m in self.messages], "train": self.train}
        return orjson.dumps(body)

    @classmethod
    def from_json(cls, body: bytes | str, metadata: Mapping[str, Any] | None = None) -> Sample:
        data = orjson.loads(body)
        return cls(
            tuple(Message(role, text) for role, text in data["messages"]), data["train"], metadata or {}
        )

    @property
    def trained_turns(self) -> tuple[int, ...]:
        """Indices into `messages` of the assistant turns that are trained on."""
        turns = tuple(i for i, m in enumerate(self.messages) if m.role == "assistant")
        return turns if self.train == "all" else turns[-1:]

    @property
    def prompt(self) -> str:
        """The last user message before the last trained turn, for people to recognise the sample by."""
        before = self.messages[: self.trained_turns[-1]]
        return next((m.content for m in reversed(before) if m.role == "user"), "")

    @property
    def answer(self) -> str:
        """Text of the last trained turn."""
        return self.messages[self.trained_turns[-1]].content

    def as_chat(self) -> list[dict[str, str]]:
        """Messages in the form chat templates take."""
        return [{"role": m.role, "content": m.content} for m in self.messages]


def _message(raw: Any, index: int) -> Message:
    if not isinstance(raw, Mapping):
        raise SampleError(f"message {index + 1} is not an object with role and content")
    message = cast("Mapping[str, Any]", raw)
    return Message(cast("Role", message.get("role")), _text(message.get("content"), index))


def _text(content: Any, index: int) -> str:
    """Plain text of a message; a list of `{"type": "text", "text": ...}` parts is joined."""
    if isinstance(content, list):
        parts = cast("list[Any]", content)
        texts = [cast("Any", p).get("text") if isinstance(p, dict) else p for p in parts]
        if all(isinstance(t, str) for t in texts):
            return "".join(cast("list[str]", texts))
    if isinstance(content, str):
        return content
    raise SampleError(f"message {index + 1} is not text")


def _check(messages: tuple[Message, ...]) -> None:
    chars = 0
    for i, message in enumerate(messages, start=1):
        if message.role not in ROLES:
            # cut, because anything can stand where a role should
            raise SampleError(f"message {i} has the role {message.role!r:.40}; use {', '.join(ROLES)}")
        if "\x00" in message.content:
            raise SampleError(f"message {i} holds a NUL character")
        if not _encodable(message.content):
            raise SampleError(f"message {i} holds a lone surrogate: it is not valid Unicode text")
        chars += len(message.content)
    if chars > MAX_CHARS:
        raise SampleError(f"{chars:,} characters, over the cap of {MAX_CHARS:,}")
    answers = [m for m in messages if m.role == "assistant"]
    if not answers:
        raise SampleError("no assistant turn to train on")
    if not answers[-1].content.strip():
        raise SampleError("the answer is empty")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

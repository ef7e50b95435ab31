"""The seal of an export: what is in it, why, and by whom, in one file whose bytes are signed.

`manifest.json` names every data file with its hash, and `rows.jsonl` with its hash. That file has a line per row:
the row's hash, its sample, the line it was read from, and why it was let out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from curation.errors import GateError
from curation.gate.formats import Format
from curation.gate.judge import Because, Held
from curation.gate.policy import Policy
from curation.samples.sample import Train
from curation.triage import Tier

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
ROWS = "rows.jsonl"

_READ = 2**20


class _Sealed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SealedFile(_Sealed):
    """A file by its path within the export, `/` between folders."""

    path: str
    bytes: int
    sha256: str


class SealedPolicy(_Sealed):
    sha256: str
    body: Policy


class Counts(_Sealed):
    """`lines` = those let out + those held, without "edited", which counts samples that are on no line any more.

    `samples` are the distinct ones let out.
    """

    lines: int
    out: dict[Because, int]
    samples: int
    held: dict[Held, int]

    @property
    def rows(self) -> int:
        """Rows of the export."""
        return sum(self.out.values())


class Word(_Sealed):
    """A decision that stood when the row was let out."""

    verdict: Literal["approve", "reject"]
    reviewer: str
    decided_at: datetime
    source: str
    reason: str | None = None


class RowEntry(_Sealed):
    """A line of `rows.jsonl`. Higher risk = riskier, percentile 100 = riskiest of its dataset."""

    row: int
    sha256: str
    sample: str
    train: Train
    file: str
    line: int
    because: Because
    risk: float
    percentile: float
    tier: Tier
    words: tuple[Word, ...] = ()


class Manifest(_Sealed):
    """`content_sha256`: hash of the rows' hashes in order; `signed_with`: hash of the public key, None if unsigned."""

    curation_export: Literal[1]
    dataset: str
    format: Format
    layout: str
    counts: Counts
    trained: dict[Train, int]
    policy: SealedPolicy
    scorer: str
    snapshot_at: datetime
    exported_by: str
    content_sha256: str
    rows: SealedFile
    data: tuple[SealedFile, ...]
    signed_with: str | None
    versions: dict[str, str]

    def to_bytes(self) -> bytes:
        """The one form a manifest has on disk."""
        value = self.model_dump(mode="json")
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"


def read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    """The manifest of an export and its bytes. Raises GateError if there is none or it is not in its one form."""
    path = folder / MANIFEST
    try:
        found = path.read_bytes()
        manifest = Manifest.model_validate_json(found)
    except OSError as error:
        raise GateError(
            f"{path} cannot be read: {error.strerror}", "Name the folder that `curation export` wrote."
        ) from None
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "its JSON"
        raise GateError(
            f"{path} is not a manifest that this version of curation wrote: {place}",
            "It was changed, or another version wrote it. Do not train on this export.",
        ) from None
    if manifest.to_bytes() != found:
        raise GateError(f"{path} was changed after it was written", "Do not train on this export.")
    return manifest, found


def row_sha256(fields: Mapping[str, Any]) -> str:
    """Hash of a row's fields and values, whatever file they lie in and in whatever order."""
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()


def content_sha256(rows: Iterable[str]) -> str:
    """Hash of rows in their order, given as their hashes."""
    whole = hashlib.sha256()
    for row in rows:
        whole.update(bytes.fromhex(row))
    return whole.hexdigest()


def sealed_file(path: Path, folder: Path) -> SealedFile:
    """A file as it is on the disk now."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        size = 0
        while chunk := file.read(_READ):
            digest.update(chunk)
            size += len(chunk)
    return SealedFile(path=path.relative_to(folder).as_posix(), bytes=size, sha256=digest.hexdigest())

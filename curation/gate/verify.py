"""Whether an export is still what was sealed: every file, every row, and the seal itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson

from curation.errors import CurationError, GateError
from curation.gate import keys
from curation.gate.formats import Format
from curation.gate.manifest import (
    MANIFEST,
    ROWS,
    SIGNATURE,
    Manifest,
    SealedFile,
    read_manifest,
    row_sha256,
    sealed_file,
)
from curation.gate.shards import rows_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Kind = Literal["changed", "added", "missing", "moved", "unreadable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference from what was sealed. `what` is a file's path, or a row's place: by its number in the export if it
    was sealed there, otherwise by the number it has in the data now."""

    kind: Kind
    of: Literal["file", "row"]
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """An export and how it differs from its seal. `signed`: whether a signature was checked and is right."""

    manifest: Manifest
    findings: Sequence[Finding]
    signed: bool


def verify(folder: Path, public_key: Ed25519PublicKey | None = None) -> Verified:
    """Compare an export with its seal, and its seal with a public key if given.

    Without a key this shows that nothing was damaged or changed in part; who could rewrite the whole export could
    rewrite its seal too. Raises GateError if there is no usable manifest, or if a key is given and the signature is
    missing or not that key's.
    """
    manifest, body = read_manifest(folder)
    if public_key:
        _check_signature(folder, public_key, body)
    findings = _compare_files(folder, manifest)
    if any(finding.what != ROWS for finding in findings) and not any(f.what == ROWS for f in findings):
        findings += _compare_rows(folder, manifest)
    return Verified(manifest, findings, public_key is not None)


def _check_signature(folder: Path, key: Ed25519PublicKey, body: bytes) -> None:
    try:
        signature = (folder / SIGNATURE).read_bytes()
    except OSError:
        raise GateError(
            f"{folder} is not signed: it has no {SIGNATURE}", "Export with --key, or verify without a key."
        ) from None
    keys.check(key, signature, body)


def _compare_files(folder: Path, manifest: Manifest) -> list[Finding]:
    sealed = {file.path: file for file in (manifest.rows, *manifest.data)}
    seal = {MANIFEST, SIGNATURE} if manifest.signed_with else {MANIFEST}
    inside = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    present = {path.relative_to(folder).as_posix(): path for path in inside}
    findings = [Finding("missing", "file", name) for name in sorted(seal - present.keys())]
    findings += [Finding("added", "file", name) for name in sorted(present.keys() - sealed.keys() - seal)]
    for name, file in sealed.items():
        if name not in present:
            findings.append(Finding("missing", "file", name))
        elif kind := _differs(present[name], folder, file):
            findings.append(Finding(kind, "file", name))
    return findings


def _differs(path: Path, folder: Path, file: SealedFile) -> Kind | None:
    try:
        # A link may point elsewhere by the time the file is read.
        return "changed" if path.is_symlink() or sealed_file(path, folder) != file else None
    except OSError:
        return "unreadable"


def _compare_rows(folder: Path, manifest: Manifest) -> list[Finding]:
    """Which rows differ. Rows are found by their hash, so that one that is missing does not change all after it."""
    sealed = [bytes.fromhex(digest) for digest in _sealed_rows(folder / ROWS)]
    findings: list[Finding] = []
    found: list[bytes] = []
    for digest in _rows_now(folder, manifest, findings):
        found.append(digest)
    return findings + list(_align(sealed, found))


def _sealed_rows(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)["sha256"]


def _rows_now(folder: Path, manifest: Manifest, findings: list[Finding]) -> Iterator[bytes]:
    sources = row_sources(folder, manifest)
    # Shards that were added count too: a training script would read them with the others.
    extra = [path for path in _like(folder, manifest.format) if path not in sources]
    for source in [path for path in sources if path.exists()] + extra:
        try:
            for fields in rows_of([source], manifest.format):
                yield bytes.fromhex(row_sha256(fields))
        except CurationError as error:
            findings.append(Finding("unreadable", "file", f"{source.name}: {error.message}"))


def row_sources(folder: Path, manifest: Manifest) -> list[Path]:
    """What the rows of an export are read from, in order."""
    if manifest.format == "hf":
        return [folder / "data"]
    return [folder / file.path for file in manifest.data]


def _like(folder: Path, form: Format) -> list[Path]:
    if form == "hf":
        return []
    suffix = "parquet" if form == "parquet" else "jsonl"
    return sorted(path for path in folder.glob(f"*.{suffix}") if path.name != ROWS)


def _align(sealed: Sequence[bytes], found: Sequence[bytes]) -> Iterator[Finding]:
    """Rows by their hash: what one side has more often is missing or added; the rest has moved where it stands in
    another order. A missing and an added row at the same place are one that was changed."""
    gone, kept = _set_apart(sealed, Counter(sealed) - Counter(found))
    new, still = _set_apart(found, Counter(found) - Counter(sealed))
    for before in sorted(gone.keys() | new.keys()):
        out, added = gone.get(before, []), new.get(before, [])
        changed = min(len(out), len(added))
        yield from (Finding("changed", "row", f"{i + 1}") for i in out[:changed])
        yield from (Finding("missing", "row", f"{i + 1}") for i in out[changed:])
        yield from (Finding("added", "row", f"{i + 1} of the data now") for i in added[changed:])
    for i, j in zip(kept, still, strict=True):
        if sealed[i] != found[j]:
            yield Finding("moved", "row", f"{i + 1}")


def _set_apart(rows: Sequence[bytes], extra: Counter[bytes]) -> tuple[dict[int, list[int]], list[int]]:
    """Positions of the extra rows (the last of their kind) by how many others are before them, and of the others."""
    left = Counter(extra)
    is_extra = [False] * len(rows)
    for i in range(len(rows) - 1, -1, -1):
        if left[rows[i]]:
            left[rows[i]] -= 1
            is_extra[i] = True
    apart: dict[int, list[int]] = {}
    others: list[int] = []
    for i, alone in enumerate(is_extra):
        if alone:
            apart.setdefault(len(others), []).append(i)
        else:
            others.append(i)
    return apart, others

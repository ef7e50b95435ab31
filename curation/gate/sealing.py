"""From the files of an export to its seal, which is made of what lies on the disk, not of what was meant to."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from curation import __version__
from curation.errors import GateError
from curation.gate.formats import Format, read_back
from curation.gate.judge import Judgement
from curation.gate.manifest import ROWS, RowEntry, SealedFile, Word, content_sha256, row_sha256, sealed_file
from curation.gate.selection import Let
from curation.gate.shards import rows_of
from curation.samples.sample import Train

_NOTHING_KEPT = "Nothing was kept. Use --format jsonl, and please report this."


def draft_entry(row: int, let: Let) -> bytes:
    """A line of `rows.jsonl` whose hash is still to come."""
    judgement = let.judgement
    assert judgement.because is not None
    assert judgement.percentile is not None
    assert judgement.tier is not None
    assert let.line.risk is not None
    entry = RowEntry(
        row=row,
        sha256="",
        sample=let.sample.id,
        train=let.sample.train,
        file=let.line.file,
        line=let.line.line,
        because=judgement.because,
        risk=let.line.risk,
        percentile=judgement.percentile,
        tier=judgement.tier,
        words=tuple(_words(judgement)),
    )
    return _line(entry)


def _words(judgement: Judgement) -> Iterator[Word]:
    for word in judgement.words:
        if word.verdict != "withdraw":
            yield Word(
                verdict=word.verdict,
                reviewer=word.reviewer,
                decided_at=word.decided_at,
                source=word.source,
                reason=word.reason,
            )


def seal_rows(
    folder: Path, drafts: Path, sources: Sequence[Path], form: Format
) -> tuple[str, Counter[Train]]:
    """Read every row back, check that it is its sample, and write `rows.jsonl`.

    Returns the hash of all rows in order and how many are trained on which turns. Raises GateError if a row on the
    disk is not the one that was let out.
    """
    trained: Counter[Train] = Counter()
    with drafts.open("rb") as entries, (folder / ROWS).open("xb") as sealed:
        whole = content_sha256(_seal_each(entries, rows_of(sources, form), sealed, form, trained))
    return whole, trained


def _seal_each(
    entries: BinaryIO,
    found: Iterator[dict[str, Any]],
    sealed: BinaryIO,
    form: Format,
    trained: Counter[Train],
) -> Iterator[str]:
    for draft, fields in zip_longest(entries, found):
        if draft is None or fields is None:
            raise GateError("the files hold another number of rows than were let out", _NOTHING_KEPT)
        entry = RowEntry.model_validate_json(draft)
        if read_back(fields, form, entry.train) != entry.sample:
            raise GateError(
                f"row {entry.row}, from {entry.file}:{entry.line}, did not come out as it went in",
                _NOTHING_KEPT,
            )
        trained[entry.train] += 1
        digest = row_sha256(fields)
        sealed.write(_line(entry.model_copy(update={"sha256": digest})))
        yield digest


def sealed_files(folder: Path) -> tuple[SealedFile, ...]:
    """Every file below a folder except `rows.jsonl`, by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / ROWS)
    return tuple(sealed_file(path, folder) for path in paths)


def versions(form: Format) -> Mapping[str, str]:
    """What the export was made with."""
    libraries = {"parquet": ("pyarrow",), "hf": ("pyarrow", "datasets")}.get(form, ())
    return {
        "curation": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


def _line(entry: RowEntry) -> bytes:
    return orjson.dumps(entry.model_dump(mode="json"), option=orjson.OPT_APPEND_NEWLINE)

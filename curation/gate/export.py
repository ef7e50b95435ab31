"""Export: what may be trained on, written as a whole or not at all, and sealed."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from sqlalchemy import Engine

from curation.errors import GateError, SampleError
from curation.gate import keys
from curation.gate.formats import Format, fields_of, layout_of
from curation.gate.judge import HELD_WORDS, Held
from curation.gate.manifest import MANIFEST, ROWS, SIGNATURE, Counts, Manifest, SealedPolicy, sealed_file
from curation.gate.policy import Policy, PolicyFile, canonical, sha256_of
from curation.gate.sealing import draft_entry, seal_rows, sealed_files, versions
from curation.gate.selection import Let, Tally, check_names, scorer_of, select
from curation.gate.shards import Shards, finish
from curation.gate.staging import publish, staged, sync
from curation.ledger.engine import reading
from curation.ledger.exports import NewExport, moment, record_export
from curation.ledger.samples import Dataset
from curation.ledger.scores import Scorer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left: its manifest, the manifest's hash, and its number in the ledger."""

    manifest: Manifest
    manifest_sha256: str
    number: int


@dataclass(slots=True)
class _Selected:
    """What one pass over the ledger wrote, and the moment of the ledger it saw."""

    scorer: Scorer
    policy: Policy
    snapshot_at: datetime
    tally: Tally
    pks: array[int]
    shards: Shards


def export(
    engine: Engine,
    dataset: Dataset,
    policy: PolicyFile,
    form: Format,
    target: Path,
    by: str,
    key: Ed25519PrivateKey | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write what the policy lets out of a dataset to the new folder `target`, with its seal beside it.

    Everything is judged by one moment of the ledger. The export is recorded before the folder appears, so that nothing
    is out that the ledger does not know of; if anything fails there is no folder.

    Raises GateError if nothing may leave or a row cannot be written in this format, InputError if the folder cannot be
    written, LedgerError if the ledger lacks the policy's scorer.
    """
    with staged(target) as folder:
        drafts = folder / "drafts"
        found = _select(engine, dataset, policy, form, folder, drafts, on_progress)
        if not found.pks:
            raise GateError(
                _nothing(found.tally), "What the policy asks for, in words: curation policy check FILE"
            )
        sources = finish(found.shards.paths, form, folder)
        content, trained = seal_rows(folder, drafts, sources, form)
        drafts.unlink()
        manifest = Manifest(
            curation_export=1,
            dataset=dataset.name,
            format=form,
            layout=layout_of(form),
            counts=_counts(found),
            trained=dict(trained),
            policy=SealedPolicy(sha256=sha256_of(found.policy), body=found.policy),
            scorer=found.scorer.fingerprint,
            snapshot_at=found.snapshot_at,
            exported_by=by,
            content_sha256=content,
            rows=sealed_file(folder / ROWS, folder),
            data=sealed_files(folder),
            signed_with=keys.fingerprint(key.public_key()) if key else None,
            versions=dict(versions(form)),
        )
        body = manifest.to_bytes()
        (folder / MANIFEST).write_bytes(body)
        if key:
            (folder / SIGNATURE).write_bytes(key.sign(body))
        sync(folder)
        number = record_export(engine, _record(dataset, found, manifest, body))
        publish(folder, target)
    return Exported(manifest, hashlib.sha256(body).hexdigest(), number)


def _select(
    engine: Engine,
    dataset: Dataset,
    policies: PolicyFile,
    form: Format,
    folder: Path,
    drafts: Path,
    on_progress: Callable[[int, int], None],
) -> _Selected:
    """Write every row that may leave, and a draft of its entry, in one pass over one moment of the ledger."""
    policy = policies.for_dataset(dataset.name)
    misfits = 0
    shown: list[str] = []
    with reading(engine) as conn, drafts.open("xb") as entries:
        check_names(conn, policies)
        scorer = scorer_of(conn, policy)
        found = _Selected(scorer, policy, moment(conn), Tally(), array("q"), Shards(folder))
        for let in select(conn, dataset, scorer, policy, found.tally, on_progress):
            try:
                row = _row(let, form)
            except SampleError as error:
                misfits += 1
                if misfits <= _SHOWN:
                    shown.append(f"{let.line.file}:{let.line.line} ({let.sample.id[:12]}): {error.message}")
                continue
            if not misfits:
                found.shards.add(row)
                found.pks.append(let.line.sample_pk)
                entries.write(draft_entry(len(found.pks), let))
        found.shards.close()
    if misfits:
        raise _misfits(misfits, shown, form)
    return found


def _row(let: Let, form: Format) -> bytes:
    metadata: dict[str, Any] = json.loads(let.line.metadata)
    fields = fields_of(let.sample, metadata, form)
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError as error:  # possible only for metadata that was made in Python
        raise SampleError(f"its other fields have no JSON form: {error}") from error


def _misfits(count: int, first: list[str], form: Format) -> GateError:
    more = [f"and {count - len(first):,} more"] if count > len(first) else []
    listed = "".join(f"\n  {line}" for line in first + more)
    return GateError(
        f"not every row that may leave can be written as {form}; {count:,} cannot:{listed}",
        "Nothing was written. Use --format messages, which can express every conversation.",
    )


def _counts(found: _Selected) -> Counts:
    return Counts(
        lines=found.tally.lines,
        out=dict(found.tally.out),
        samples=len(np.unique(np.asarray(found.pks))),
        held=found.tally.held_in_order(),
    )


def _record(dataset: Dataset, found: _Selected, manifest: Manifest, body: bytes) -> NewExport:
    return NewExport(
        dataset_id=dataset.id,
        scorer_id=found.scorer.id,
        policy_sha256=manifest.policy.sha256,
        policy=canonical(found.policy),
        format=manifest.format,
        counts=manifest.counts.model_dump(),
        manifest_sha256=hashlib.sha256(body).hexdigest(),
        manifest=body.decode(),
        exported_by=manifest.exported_by,
        snapshot_at=found.snapshot_at,
        pks=found.pks,
    )


def _nothing(tally: Tally) -> str:
    return f"nothing may leave ({in_words(tally.held_in_order()) or 'the dataset has no lines'})"


def in_words(held: dict[Held, int]) -> str:
    """Counts of what was held, with the reasons in words."""
    return "; ".join(f"{HELD_WORDS[reason]}: {n:,}" for reason, n in held.items())

"""What left, with its seal, and the policies it went by."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Response
from pydantic import ValidationError

from curation.errors import LedgerError
from curation.gate.judge import HELD_WORDS
from curation.gate.policy import Policy, in_words
from curation.ledger.engine import reading
from curation.ledger.export_log import (
    LoggedExport,
    UsedPolicy,
    exported_samples,
    find_export,
    latest_exports,
    used_policies,
)
from curation.ledger.samples import find_dataset, list_datasets
from curation.review.fold import RULE_WORDS
from curation.web.choice import DatasetName
from curation.web.pages import HEADERS, PageRoute, Reading

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PAGE = 50
_SHOWN_FILES = 100

Number = Annotated[int, Path(ge=1, lt=2**31)]


@dataclass(frozen=True, slots=True)
class Version:
    """A policy, and how it differs from the one used before it: (sign, line) of a unified comparison."""

    used: UsedPolicy
    words: Sequence[str]
    text: str
    changes: Sequence[tuple[str, str]]
    before: str | None


@router.get("/exports")
def exports(
    page: Reading,
    dataset: DatasetName = None,
    after: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
) -> Response:
    """Everything that left, the latest first."""
    with reading(page.service.engine) as conn:
        datasets = list_datasets(conn)
        dataset_id = find_dataset(conn, dataset).id if dataset else None
        found = latest_exports(conn, PAGE + 1, after, dataset_id)
    return page.render(
        "exports.html.j2",
        exports=found[:PAGE],
        next=found[PAGE - 1].id if len(found) > PAGE else None,
        after=after,
        dataset=dataset or None,
        datasets=[known.name for known in datasets],
        held_words=HELD_WORDS,
    )


@router.get("/exports/policies")
def policies(page: Reading) -> Response:
    """Every policy that something was exported by, the one that was used last first."""
    with reading(page.service.engine) as conn:
        found = used_policies(conn)
    versions = [_version(policy, found[n + 1 :]) for n, policy in enumerate(found)]
    return page.render("policies.html.j2", versions=versions)


@router.get("/exports/policies/{sha256}")
def policy(page: Reading, sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> Response:
    """One policy in words and in full, what changed in it, and the exports that went by it."""
    with reading(page.service.engine) as conn:
        found = used_policies(conn)
        by_it = latest_exports(conn, PAGE, policy_sha256=sha256)
    for n, used in enumerate(found):
        if used.sha256 == sha256:
            version = _version(used, found[n + 1 :])
            return page.render("policy.html.j2", version=version, exports=by_it, held_words=HELD_WORDS)
    raise LedgerError("nothing was exported by such a policy", "The list of policies has those there are.")


@router.get("/exports/{number}")
def export(page: Reading, number: Number, after: Annotated[int, Query(ge=0, lt=2**63)] = 0) -> Response:
    """One export: its seal, its policy, its counts, how to verify it, and its samples."""
    with reading(page.service.engine) as conn:
        found = find_export(conn, number)
        inside = exported_samples(conn, found, PAGE + 1, after)
    return page.render(
        "export.html.j2",
        export=found,
        seal=found.seal,
        words=_words(found.policy),
        text=_pretty(found.policy),
        samples=inside[:PAGE],
        next=inside[PAGE - 1].pk if len(inside) > PAGE else None,
        after=after or None,
        held_words=HELD_WORDS,
        rule_words=RULE_WORDS,
        shown_files=_SHOWN_FILES,
    )


@router.get("/exports/{number}/manifest.json")
def manifest(page: Reading, number: Number) -> Response:
    """The sealed file, byte for byte, to be compared with the one in the folder."""
    with reading(page.service.engine) as conn:
        found: LoggedExport = find_export(conn, number)
    if found.manifest is None:
        raise LedgerError(
            f"the manifest of export {number} was not kept in the ledger",
            "It lies in the export's folder; the ledger has its hash.",
        )
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="manifest-{number}.json"'}
    return Response(found.manifest, media_type="application/json", headers=headers)


def _version(used: UsedPolicy, older: Sequence[UsedPolicy]) -> Version:
    """What changed is told against the policy that any of the same datasets went by before."""
    before = next((one for one in older if set(one.datasets) & set(used.datasets)), None)
    return Version(
        used,
        _words(used.body),
        _pretty(used.body),
        _changes(before.body, used.body) if before else (),
        before.sha256 if before else None,
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = difflib.ndiff(_pretty(before).splitlines(), _pretty(after).splitlines())
    return [(line[0], line[2:]) for line in lines if line[0] in "+-"]


def _words(body: Mapping[str, Any]) -> list[str]:
    """What a policy does, a sentence each; none if another version of curation wrote it."""
    try:
        return in_words(Policy.model_validate(body))
    except ValidationError:
        return []


def _pretty(body: Mapping[str, Any]) -> str:
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2).decode()

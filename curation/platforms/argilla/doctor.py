"""What the order of a dataset depends on, looked for and mended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curation.errors import PlatformError
from curation.platforms.argilla import index
from curation.platforms.argilla.api import Api, having, saying
from curation.platforms.argilla.mapping import ORDER, PLACE, PROPERTIES, Options
from curation.platforms.contract import Finding

OURS = "curation"
"""Key of a dataset's own metadata under which `default_sort.py` finds what to sort by."""

EXECUTES = (
    "Argilla runs HTML that is in the texts of records in the annotator's page, and shows other characters than they "
    "hold; texts of datasets that are made here are escaped, these are not"
)


def shows(api: Api, dataset: str, prefix: str, revision: str, items: int) -> bool:
    """Whether the search index has the order of that name, and a place for each item."""
    _, named = api.search(dataset, where=[saying(prefix + ORDER, revision)], limit=1)
    return bool(named) and placed(api, dataset, prefix) >= items


def placed(api: Api, dataset: str, prefix: str) -> int:
    """How many records have a place, as the search index counts them."""
    _, total = api.search(dataset, where=[having(prefix + PLACE)], limit=1)
    return total


def store_sort(api: Api, dataset: str, prefix: str) -> None:
    """Keep in the dataset what servers with our start module sort by."""
    path = f"/datasets/{dataset}"
    there: dict[str, Any] = api.get(path).get("metadata") or {}
    wanted = {**there, OURS: {"sort": [{"property": prefix + PLACE, "order": "asc"}]}}
    if there == wanted:
        return
    api.request("PATCH", path, json={"metadata": wanted})
    if api.get(path).get("metadata") != wanted:
        # Argilla 2.8 does not notice that metadata which are there already have changed.
        api.request("PATCH", path, json={"metadata": None})
        api.request("PATCH", path, json={"metadata": wanted})


def missing_properties(api: Api, dataset: str, prefix: str) -> tuple[list[str], list[str]]:
    """Names of our metadata properties that a dataset lacks, and of those that are of another type."""
    there = properties(api, dataset)
    names = {prefix + name: kind for name, (kind, _) in PROPERTIES.items()}
    lacking = [name for name in names if name not in there]
    return lacking, [name for name, kind in names.items() if there.get(name, kind) != kind]


def require_properties(api: Api, dataset: str, prefix: str) -> None:
    """Raises PlatformError unless a dataset has all our metadata properties: the server would refuse every record."""
    finding = _columns(api, dataset, prefix, repair=False)
    if not finding.ok:
        raise PlatformError(
            f"metadata properties of the dataset are {finding.says}", "Then run the same again."
        )


def properties(api: Api, dataset: str) -> dict[str, str]:
    """The metadata properties of a dataset with their types."""
    found = api.get(f"/me/datasets/{dataset}/metadata-properties")["items"]
    return {each["name"]: each["settings"]["type"] for each in found}


def add_properties(api: Api, dataset: str, prefix: str) -> list[str]:
    """Add what `missing_properties` finds missing, hidden from annotators: the number would sway them."""
    lacking, _ = missing_properties(api, dataset, prefix)
    for name in lacking:
        kind, title = PROPERTIES[name.removeprefix(prefix)]
        # Without bounds, which could not be widened later.
        body = {"name": name, "title": title, "settings": {"type": kind}, "visible_for_annotators": False}
        api.request("POST", f"/datasets/{dataset}/metadata-properties", json=body)
    return lacking


def examine(
    api: Api, dataset: str, options: Options, revision: str | None, items: int, *, repair: bool
) -> Iterator[Finding]:
    prefix = options.prefix
    yield Finding("server", True, f"Argilla {api.get('/version').get('version', '?')}")
    columns = _columns(api, dataset, prefix, repair)
    yield columns
    if not options.own:
        yield Finding("texts", True, EXECUTES)
    if revision is None:
        yield Finding("order", False, "nothing was pushed yet: run `curation sync`")
    elif columns.ok:
        yield _order(api, dataset, prefix, revision, items)
        yield _index(api, dataset, prefix + PLACE, repair)


def _columns(api: Api, dataset: str, prefix: str, repair: bool) -> Finding:
    lacking, wrong = missing_properties(api, dataset, prefix)
    if wrong:
        says = f"of another type than ours: {', '.join(wrong)}; delete them in the dataset's settings"
        return Finding("columns", False, says)
    if lacking and repair:
        return Finding(
            "columns", True, f"added {', '.join(add_properties(api, dataset, prefix))}", repaired=True
        )
    if lacking:
        return Finding(
            "columns", False, f"missing: {', '.join(lacking)}; `curation doctor --repair` adds them"
        )
    return Finding("columns", True, "all there")


def _order(api: Api, dataset: str, prefix: str, revision: str, items: int) -> Finding:
    says = f"{placed(api, dataset, prefix):,} of {items:,} records have a place in the queue"
    if shows(api, dataset, prefix, revision, items):
        return Finding("order", True, says)
    return Finding("order", False, f"{says}, or some of the order before: run `curation sync`")


def _index(api: Api, dataset: str, place: str, repair: bool) -> Finding:
    wanted = [
        str(record["id"])
        for page in api.records(dataset)
        for record in page
        if isinstance((record["metadata"] or {}).get(place), int)
    ]
    if repair:
        mended = index.mend(api, dataset, place, wanted)
        says = f"{mended:,} records were not in their places" if mended else "in step with the records"
        return Finding("index", True, says, repaired=bool(mended))
    bad = index.misplaced(api, dataset, place, wanted)
    says = f"{len(bad):,} of {len(wanted):,} records are not in their places; `curation doctor --repair` mends it"
    return Finding("index", not bad, says if bad else "in step with the records")

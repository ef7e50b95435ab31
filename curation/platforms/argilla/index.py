"""Whether the search index serves records in the order that their metadata say.

The server answers as if all were well where its search engine took something else, or nothing. What annotators are
served comes from the index, so after a push it is asked for all records in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curation.errors import PlatformUnavailable
from curation.platforms.argilla.api import BATCH, PAGE, Api, by_metadata, having
from curation.platforms.argilla.order import increasing

TRIES = 3


def misplaced(api: Api, dataset: str, place: str, wanted: Sequence[str]) -> list[str]:
    """Those of the records that the index does not have, or has in another place than their metadata say."""
    found: dict[str, Any] = {}
    for offset in range(0, 2**31, PAGE):
        # The order is the index's, the metadata are not: those whose place it lacks must be kept apart.
        page, _ = api.search(dataset, where=[having(place)], sort=[by_metadata(place)], offset=offset)
        found |= {record["id"]: (record["metadata"] or {}).get(place) for record in page}
        if len(page) < PAGE:
            break
    ids = [key for key in found if isinstance(found[key], int)]
    right = {ids[i] for i in increasing([found[key] for key in ids])}
    return [key for key in wanted if key not in right]


def mend(api: Api, dataset: str, place: str, wanted: Sequence[str]) -> int:
    """Have the index take records anew until all are in their places; returns how many were not.

    Raises PlatformUnavailable if it does not take them.
    """
    bad = misplaced(api, dataset, place, wanted)
    first = len(bad)
    for _ in range(TRIES):
        if not bad:
            return first
        gone: set[str] = set()
        for start in range(0, len(bad), BATCH):
            some = bad[start : start + BATCH]
            # Whatever is written of a record, the index takes all of it.
            written = api.write(dataset, [{"id": key} for key in some])
            gone |= {key for key, record in zip(some, written, strict=True) if record is None}
        wanted = [key for key in wanted if key not in gone]
        bad = misplaced(api, dataset, place, wanted)
    raise PlatformUnavailable(
        f"the search index of Argilla at {api.url} lacks {len(bad):,} of {len(wanted):,} records or their places",
        f"On its server: python -m argilla_server search-engine reindex --dataset-id {dataset}",
    )

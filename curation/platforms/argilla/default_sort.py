"""A start module for an Argilla server: who opens a dataset without a sort of their own gets the riskiest first.

Argilla has no default sort: without one, every annotator is served a random order of their own. This file runs in the
server's environment and needs nothing of ours, so copy it there and start the server with it:

    python -m uvicorn --app-dir FOLDER_OF_THIS_FILE default_sort:app --host HOST --port 6900

It sorts datasets whose metadata say so under "curation", as `curation connect argilla` writes it, and leaves all
others as they are. A sort that is chosen on the page counts more.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

from argilla_server import app
from argilla_server.search_engine import MetadataFilterScope, Order, SearchEngine

__all__ = ["app"]


def stored_sort(dataset: Any) -> list[Order]:
    """What a dataset says it is sorted by, as far as it has such metadata properties."""
    stored = (dataset.metadata_ or {}).get("curation")
    sort = stored.get("sort") if isinstance(stored, dict) else None
    known = {each.name for each in dataset.__dict__.get("metadata_properties") or ()}
    return [
        Order(scope=MetadataFilterScope(metadata_property=each["property"]), order=each["order"])
        for each in (sort if isinstance(sort, list) else ())
        if isinstance(each, dict) and each.get("property") in known and each.get("order") in ("asc", "desc")
    ]


def sorting(engine: type[SearchEngine]) -> type[SearchEngine]:
    """The same search engine, which sorts for annotators who did not choose a sort."""

    class Sorting(engine):
        async def search(self, dataset: Any, *args: Any, sort: Any = None, **rest: Any) -> Any:
            if not sort and rest.get("user_id"):  # only the annotation page's question names a user
                sort = stored_sort(dataset) or None
            return await super().search(dataset, *args, sort=sort, **rest)

    return Sorting


for name, engine in list(SearchEngine.registered_classes.items()):
    SearchEngine.register(name)(sorting(engine))

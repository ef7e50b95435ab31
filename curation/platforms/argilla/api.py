"""Talking to an Argilla server: the SDK for the way in and for new datasets, its HTTP client for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import httpx

from curation.errors import PlatformError
from curation.platforms import answering

if TYPE_CHECKING:
    from argilla import Argilla

TIMEOUT = 120
"""Seconds: the server answers nobody while it writes, and writing 250 records can take it ten."""

BATCH = 250
"""Records in one write, and ids in one question. The server takes 500, and writes 250 in half the time."""

PAGE = 500

_NEXT = "`curation doctor` tells whether the dataset is as it should be."


class Unprocessable(PlatformError):  # noqa: N818 - what the server calls it
    """The server understood and refuses: at least one record of the request is not as it wants it."""


class Api:
    """A server and a key. Nothing is asked of it before the first request."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._key = key

    @cached_property
    def sdk(self) -> Argilla:
        """The SDK's client. Raises PlatformError if `argilla` is not installed or the key is not known there."""
        try:
            from argilla import Argilla
        except ModuleNotFoundError:
            raise PlatformError(
                "argilla is not installed", "Install it: pip install 'curation[argilla]'"
            ) from None
        with self.told_plainly():
            # Sent once: what must not happen twice is not repeated.
            return Argilla(api_url=f"{self.url}/", api_key=self._key, timeout=TIMEOUT, retries=0)

    def told_plainly(self) -> AbstractContextManager[None]:
        """Turns what the SDK and httpx raise into PlatformError and PlatformUnavailable."""
        return answering.told_plainly("Argilla", self.url, _status, _denied, _NEXT)

    def get(self, path: str, **params: Any) -> Any:
        """JSON of a GET; tried again by the next look if it fails."""
        return self.request("GET", path, params=params)

    def request(self, method: str, path: str, *, params: Any = None, json: Any = None) -> Any:
        """JSON of an answer, None of an empty one; `path` is that below /api/v1.

        Raises PlatformUnavailable where the same may succeed later, else PlatformError.
        """
        http: httpx.Client = self.sdk.http_client
        with self.told_plainly():
            response = http.request(method, f"api/v1{path}", params=params, json=json)
            if response.status_code == 422 and path.endswith("/records/bulk"):
                # Without what the server says: it quotes the text that it refuses.
                raise Unprocessable(f"Argilla at {self.url} refuses one of the records", _NEXT)
            response.raise_for_status()
            return response.json() if response.content else None

    # Records

    def records(self, dataset: str, *, responses: bool = False) -> Iterator[list[dict[str, Any]]]:
        """All records of a dataset page by page, oldest first, from the database and not from the index."""
        include = {"include": "responses"} if responses else {}
        for offset in range(0, 2**31, PAGE):
            page = self.get(f"/datasets/{dataset}/records", offset=offset, limit=PAGE, **include)
            yield page["items"]
            if len(page["items"]) < PAGE:
                return

    def search(
        self,
        dataset: str,
        *,
        where: Sequence[Mapping[str, Any]] = (),
        sort: Sequence[Mapping[str, Any]] = (),
        offset: int = 0,
        limit: int = PAGE,
    ) -> tuple[list[dict[str, Any]], int]:
        """Records as the search index finds and sorts them, and how many it finds in all."""
        body = {"filters": {"and": list(where)} if where else None, "sort": list(sort) or None}
        path = f"/datasets/{dataset}/records/search"
        found = self.request("POST", path, params={"offset": offset, "limit": limit}, json=body)
        return [item["record"] for item in found["items"] if item], int(found["total"])

    def write(self, dataset: str, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """Make records, or change those whose id or external id there is; None for one that the server refuses.

        The server takes a request whole or not at all, so one that it refuses is sent again in halves.
        """
        try:
            path = f"/datasets/{dataset}/records/bulk"
            return cast("list[Any]", self.request("PUT", path, json={"items": records})["items"])
        except Unprocessable:
            if len(records) == 1:
                return [None]
            half = len(records) // 2
            return self.write(dataset, records[:half]) + self.write(dataset, records[half:])


def by_record(name: str, values: Sequence[str]) -> dict[str, Any]:
    """A filter: records whose id, or external id, is one of these (at most 250)."""
    return {"type": "terms", "scope": {"entity": "record", "property": name}, "values": list(values)}


def having(name: str) -> dict[str, Any]:
    """A filter: records of which the index knows a number by that name."""
    return {"type": "range", "scope": {"entity": "metadata", "metadata_property": name}, "ge": -(2.0**60)}


def saying(name: str, value: str) -> dict[str, Any]:
    """A filter: records of which the index knows that text by that name."""
    scope = {"entity": "metadata", "metadata_property": name}
    return {"type": "terms", "scope": scope, "values": [value]}


def by_metadata(name: str, order: str = "asc") -> dict[str, Any]:
    """A sort by a metadata property; records without it come last in both directions."""
    return {"scope": {"entity": "metadata", "metadata_property": name}, "order": order}


def _status(error: Exception) -> tuple[int, Any] | None:
    from argilla._exceptions import ArgillaAPIError, ArgillaCredentialsError

    if isinstance(error, ArgillaCredentialsError):
        return 401, ""
    return (error.status_code, error.message) if isinstance(error, ArgillaAPIError) else None


def _denied(detail: str) -> str:
    return (
        "Check the key, under My settings there, and that its owner is an owner, or an admin of the workspace: "
        "CURATION_ARGILLA_API_KEY."
    )

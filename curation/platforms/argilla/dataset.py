"""One Argilla dataset as a target.

The order is kept as whole numbers in a metadata property that annotators do not see and can sort by all the same. What
annotators are served follows from the address they open, or from a server that sorts by itself (`default_sort.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from curation.errors import PlatformError
from curation.platforms.argilla import doctor, index
from curation.platforms.argilla.answers import read_record
from curation.platforms.argilla.api import BATCH, Api, by_metadata, by_record, having
from curation.platforms.argilla.mapping import (
    HEAT,
    ORDER,
    PLACE,
    Options,
    merged,
    metadata_of,
    reason_of,
    record_of,
)
from curation.platforms.argilla.order import STEP, places
from curation.platforms.contract import Changes, Columns, Created, Finding, Placed, RemoteItem
from curation.samples.sample import Sample

LOOK_SHARE = 0.05
"""Part of the time that the server may be busy with showing all its records while annotators keep answering."""

LONG_LOOK = 5.0
"""Seconds that showing all records must take for that to matter."""

WHOLE_LOOK = 3600.0
"""Seconds after which all records are read even if nothing seems to have changed."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a cursor remembers: the marks of the last state that was read, when, and how many seconds it took."""

    marks: list[Any]
    at: float
    took: float

    def due(self, marks: list[Any]) -> bool:
        since = time.time() - self.at
        pause = self.took / LOOK_SHARE if self.took > LONG_LOOK else 0.0
        return since < 0 or since > WHOLE_LOOK or (marks != self.marks and since >= pause)


class Dataset:
    """The contract's Platform for one dataset. Items go by their records' ids."""

    chunk = BATCH

    def __init__(self, api: Api, dataset_id: str, options: Options) -> None:
        self._api = api
        self._id = dataset_id
        self._options = options
        self._place = options.prefix + PLACE
        self._names: dict[str, str] = {}

    def create(self, samples: Sequence[tuple[Sample, Columns]]) -> Created:
        created = Created([None] * len(samples))
        if not self._options.own:
            created.problems += ["the dataset was not made here: it shows its own records"] if samples else []
            return created
        taken = self._with_external_ids([sample.id for sample, _ in samples])
        wanted: list[tuple[int, dict[str, Any]]] = []
        place = self._last_place()
        for i, (sample, columns) in enumerate(samples):
            there = taken.get(sample.id)
            if there is not None and read_record(there, self._options, str).sample == sample:
                created.remote_ids[i] = str(there["id"])
                continue
            # A record that was edited keeps its external id: what it shows now must not be overwritten.
            record = record_of(sample, sample.id if there is None else f"{sample.id}-{uuid4().hex[:8]}")
            if isinstance(record, str):
                created.problems.append(f"a sample cannot be shown: {record}")
                continue
            # Behind all others, until they are shown in their order: often that is where they belong.
            place += STEP
            record["metadata"] |= metadata_of(columns, place, self._options.prefix)
            wanted.append((i, record))
        # Known by its external id, a record that is sent again after a lost answer is the same one.
        made = self._api.write(self._id, [record for _, record in wanted]) if wanted else []
        for (i, _), record in zip(wanted, made, strict=True):
            if record is None:
                created.problems.append("a sample cannot be shown: the server refuses it")
            else:
                created.remote_ids[i] = str(record["id"])
        return created

    def changes(self, cursor: str | None) -> Iterator[Changes]:
        # Before the records are read: what happens meanwhile is seen by the next look.
        marks = self._marks()
        seen = _Seen(**json.loads(cursor)) if cursor else None
        if seen and not seen.due(marks):
            return
        start, clock = time.time(), time.monotonic()
        for page in self._api.records(self._id, responses=True):
            yield Changes([self._item(record) for record in page], cursor or "")
        yield Changes([], json.dumps(asdict(_Seen(marks, start, time.monotonic() - clock))))

    def show(self, revision: str, items: Sequence[Placed]) -> Iterator[Sequence[str]]:
        prefix = self._options.prefix
        news = any(item.changed for item in items)
        if not items or (not news and doctor.shows(self._api, self._id, prefix, revision, len(items))):
            return
        doctor.require_properties(self._api, self._id, prefix)
        there = {r["id"]: r["metadata"] or {} for page in self._api.records(self._id) for r in page}
        if gone := sum(item.remote_id not in there for item in items):
            raise PlatformError(
                f"{gone:,} records were deleted", "Run the same again: it goes on without them."
            )
        numbers = places([there[item.remote_id].get(self._place) for item in items])
        ours = {
            item.remote_id: metadata_of(item.columns, place, prefix)
            for item, place in zip(items, numbers, strict=True)
        }
        right = {key for key in ours if self._merged(there[key], ours[key]) == there[key]}
        yield [item.remote_id for item in items if item.changed and item.remote_id in right]
        refused = yield from self._write_all({k: v for k, v in ours.items() if k not in right}, there)
        index.mend(self._api, self._id, self._place, [key for key in ours if key not in refused])
        if refused:
            raise PlatformError(
                f"Argilla refuses the metadata of {len(refused):,} records, such as {refused[0]}; the rest is shown",
                "Other metadata of theirs do not fit the dataset's properties: change either.",
            )
        first = items[0].remote_id
        self._write({first: {**ours[first], prefix + ORDER: revision}}, there)

    def show_reason(self, remote_id: str, html: str) -> None:
        if not self._options.heat:
            raise PlatformError(
                "the dataset has no place for reasons",
                "Only datasets that are made by `curation connect argilla --heat` have one.",
            )
        # All fields are replaced, so the text is sent as it is now.
        fields = self._api.get(f"/records/{remote_id}")["fields"]
        (done,) = self._api.write(self._id, [{"id": remote_id, "fields": {**fields, HEAT: reason_of(html)}}])
        if done is None:
            raise PlatformError(f"Argilla refuses the reason of the record {remote_id}", "Show fewer.")

    def present(self, remote_ids: Sequence[str]) -> set[str]:
        there: set[str] = set()
        for start in range(0, len(remote_ids), BATCH):
            some = remote_ids[start : start + BATCH]
            there |= self._metadata(some).keys()
        # What the index does not know may be there all the same.
        if len(there) < len(set(remote_ids)):
            there |= {r["id"] for page in self._api.records(self._id) for r in page} & set(remote_ids)
        return there

    def examine(self, revision: str | None, items: int, *, repair: bool) -> Iterator[Finding]:
        return doctor.examine(self._api, self._id, self._options, revision, items, repair=repair)

    def queue_url(self) -> str:
        return queue_url(self._api.url, self._id, self._options.prefix)

    # Reading

    def _marks(self) -> list[Any]:
        """What changes whenever a response is given, changed or deleted, or a record made, changed or deleted."""
        dataset = self._api.get(f"/datasets/{self._id}")
        newest = {"scope": {"entity": "record", "property": "updated_at"}, "order": "desc"}
        records, total = self._api.search(self._id, sort=[newest], limit=1)
        return [dataset["last_activity_at"], total, *([r["id"], r["updated_at"]] for r in records)]

    def _item(self, record: Mapping[str, Any]) -> RemoteItem:
        return read_record(record, self._options, self._reviewer)

    def _reviewer(self, user_id: str | None) -> str:
        if user_id is None:
            return "deleted user"
        if user_id not in self._names:
            workspace = self._api.get(f"/datasets/{self._id}")["workspace_id"]
            known = [*self._api.get(f"/workspaces/{workspace}/users")["items"], self._api.get("/me")]
            self._names |= {user["id"]: user["username"] for user in known}
        if user_id not in self._names:
            self._names[user_id] = self._outsider(user_id)
        return self._names[user_id]

    def _outsider(self, user_id: str) -> str:
        """An owner who is no member of the workspace; only owners are told the name."""
        try:
            return str(self._api.get(f"/users/{user_id}")["username"])
        except PlatformError:
            return f"user {user_id}"

    def _with_external_ids(self, external_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        found, _ = self._api.search(self._id, where=[by_record("external_id", external_ids)])
        return {record["external_id"]: record for record in found}

    def _last_place(self) -> int:
        order = by_metadata(self._place, "desc")
        last, _ = self._api.search(self._id, where=[having(self._place)], sort=[order], limit=1)
        return max(
            (place for r in last if isinstance(place := r["metadata"].get(self._place), int)), default=0
        )

    def _metadata(self, remote_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The metadata of at most BATCH records as they are now; without those that the index lacks."""
        found, _ = self._api.search(self._id, where=[by_record("id", remote_ids)])
        return {record["id"]: record["metadata"] or {} for record in found}

    # Writing

    def _write_all(
        self, ours: Mapping[str, Mapping[str, Any]], there: Mapping[str, Mapping[str, Any]]
    ) -> Generator[Sequence[str], None, list[str]]:
        """Yields the ids of records that were written, batch by batch, and returns those that the server refuses."""
        order = self._options.prefix + ORDER

        def turn(key: str) -> tuple[bool, bool]:
            # First what names an order that is not complete any more, then the order, from the top of the queue.
            return order not in there[key], there[key].get(self._place) == ours[key][self._place]

        turns = sorted(ours, key=turn)
        refused: list[str] = []
        for start in range(0, len(turns), BATCH):
            some = turns[start : start + BATCH]
            done = self._write({key: ours[key] for key in some}, there)
            refused += [key for key in some if key not in done]
            yield done
        return refused

    def _write(
        self, ours: Mapping[str, Mapping[str, Any]], there: Mapping[str, Mapping[str, Any]]
    ) -> list[str]:
        """Set our part of some records' metadata. What others have is read again first: a push takes minutes."""
        now = {**there, **self._metadata(list(ours))}
        records = [{"id": key, "metadata": self._merged(now[key], values)} for key, values in ours.items()]
        return [str(record["id"]) for record in self._api.write(self._id, records) if record]

    def _merged(self, metadata: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
        return merged(metadata, ours, self._options.prefix)


def queue_url(url: str, dataset_id: str, prefix: str) -> str:
    """The annotation page of what an annotator has not answered, riskiest first; the next record follows it too."""
    return (
        f"{url}/dataset/{dataset_id}/annotation-mode?page=1&status=pending&sort=metadata.{prefix}{PLACE}.asc"
    )

"""One Label Studio project as a target.

The order is kept as scores of predictions without a result: "Label All Tasks" serves the lowest score first if the
project samples by uncertainty and names the predictions' version. A new order is one set of predictions under a new
version, and then the switch to it, which is the one moment at which annotators see a change.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from curation.errors import PlatformError
from curation.platforms.contract import Changes, Columns, Created, Finding, Placed, RemoteItem
from curation.platforms.label_studio import doctor, views
from curation.platforms.label_studio.answers import FIELDS, read_task
from curation.platforms.label_studio.api import LONG, Api, web_address
from curation.platforms.label_studio.mapping import HEAT_FIELD, Options, task_data
from curation.samples.sample import Sample

PAGE = 200
OVERLAP = timedelta(seconds=5)
"""How far behind what was read the next look begins: a slow request may commit an earlier time than one seen."""

BODY = 20_000_000
"""Bytes of tasks in one request: the server takes 250 MB, and a proxy before it often much less."""

COLUMN_CALLS = 400
"""Requests for columns in one push, the top of the queue first: every different value takes one. The rest follows."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = {
    "risk_percentile": "percentile",
    "risk_tier": "tier",
    "risk": "risk",
    "danger": "danger",
    "safety": "safety",
    "risk_scorer": "scorer",
}


class Project:
    """The contract's Platform for one project."""

    chunk = 500

    def __init__(self, api: Api, project_id: int, options: Options) -> None:
        self._api = api
        self._id = project_id
        self._options = options
        self._reviewers: dict[int, str] = {}

    def create(self, samples: Sequence[tuple[Sample, Columns]]) -> Created:
        if not self._options.own:
            problem = "the project was not made here: it shows its own tasks, and takes no others"
            return Created([None] * len(samples), [problem] if samples else [])
        data = [task_data(sample, self._options.kind) for sample, _ in samples]
        fitting = [i for i, fields in enumerate(data) if fields is not None]
        # Without the field, the editor would complain of a place that stays empty.
        place = {HEAT_FIELD: ""} if self._options.heat else {}
        tasks = [{"data": {**(data[i] or {}), **place, **self._fields(samples[i][1])}} for i in fitting]
        created = Created([None] * len(samples))
        if len(fitting) < len(samples):
            created.problems.append("the project shows pairs of instruction and response, and nothing else")
        if not tasks:
            return created
        ids = [task_id for part in in_parts(tasks, BODY) for task_id in self._import(part)]
        for i, task_id in zip(fitting, ids, strict=True):
            created.remote_ids[i] = str(task_id)
        return created

    def changes(self, cursor: str | None) -> Iterator[Changes]:
        since = datetime.fromisoformat(cursor) if cursor else _BEGINNING
        size = PAGE
        while True:
            # Always the first page: pages further on shift while people work.
            tasks = self._updated_after(since, size)
            asked_at = self._api.asked_at or _BEGINNING
            items = [self._item(task) for task in tasks]
            last = items[-1].updated_at if items else since
            if len(tasks) < size:
                # That was everything until this moment, so that the next look need not go through it again.
                yield Changes(items, (max(last, asked_at) - OVERLAP).isoformat())
                return
            yield Changes(items, (last - OVERLAP).isoformat())
            if last <= since + timedelta(microseconds=1):
                size *= 2  # more tasks of one moment than fit on a page
            since = max(since, last - timedelta(microseconds=1))

    def show(self, revision: str, items: Sequence[Placed]) -> Iterator[Sequence[str]]:
        self._switch_to(revision, items)
        views.ensure(self._api, self._id, self._options.prefix)
        yield from self._show_columns(items)

    def show_reason(self, remote_id: str, html: str) -> None:
        if not self._options.heat:
            raise PlatformError(
                "the project has no place for reasons",
                "Only projects that are made by `curation connect label-studio --heat` have one.",
            )
        self._set(HEAT_FIELD, html, [remote_id])

    def present(self, remote_ids: Sequence[str]) -> set[str]:
        there: set[str] = set()
        for start in range(0, len(remote_ids), PAGE):
            some = [int(remote_id) for remote_id in remote_ids[start : start + PAGE]]
            found = self._tasks(
                {"filter": "filter:tasks:id", "operator": "in_list", "type": "Number", "value": some}, "id"
            )
            there |= {str(task["id"]) for task in found}
        return there

    def examine(self, revision: str | None, items: int, *, repair: bool) -> Iterator[Finding]:
        return doctor.examine(self._api, self._id, revision, items, self._options.prefix, repair=repair)

    def queue_url(self) -> str:
        return web_address(self._api.url, f"/projects/{self._id}/data", labeling=1)

    def _import(self, tasks: Sequence[dict[str, Any]]) -> list[int]:
        """Make tasks; returns their numbers. Sent once: if the answer gets lost, the next pull finds what was made."""
        path = f"/api/projects/{self._id}/import"
        answer = self._api.request("POST", path, params={"return_task_ids": "true"}, json=tasks, timeout=LONG)
        ids = answer.get("task_ids") if isinstance(answer, dict) else None
        if not isinstance(ids, list) or len(ids) != len(tasks):
            raise PlatformError(
                f"Label Studio did not name each of the {len(tasks)} tasks that it took",
                "Run the same again: tasks that are there are found and not made twice.",
            )
        return ids

    # Reading

    def _updated_after(self, moment: datetime, size: int) -> list[dict[str, Any]]:
        value = moment.astimezone(UTC).strftime(
            "%Y-%m-%dT%H:%M:%S.%fZ"
        )  # any other form is answered with 500
        after = {
            "filter": "filter:tasks:updated_at",
            "operator": "greater",
            "type": "Datetime",
            "value": value,
        }
        return self._tasks(after, FIELDS, size)

    def _tasks(self, condition: Mapping[str, Any], include: str, size: int = PAGE) -> list[dict[str, Any]]:
        query = {
            "filters": {"conjunction": "and", "items": [condition]},
            "ordering": ["tasks:updated_at"],
        }
        found = self._api.get(
            "/api/tasks/", project=self._id, fields="all", include=include, page=1, page_size=size,
            resolve_uri="false", query=json.dumps(query),
        )  # fmt: skip
        return found["tasks"]

    def _item(self, task: Mapping[str, Any]) -> RemoteItem:
        return read_task(task, self._options, self._reviewer)

    def _reviewer(self, user: Any) -> str:
        user_id = int(user["id"]) if isinstance(user, dict) else int(user)
        if user_id not in self._reviewers:
            users = self._api.get("/api/users/")
            self._reviewers |= {int(each["id"]): str(each["email"]) for each in users}
        return self._reviewers.setdefault(user_id, f"user {user_id}")

    # The order

    def _switch_to(self, revision: str, items: Sequence[Placed]) -> None:
        settings = self._api.get(f"/api/projects/{self._id}/")
        if not doctor.follows(settings, revision):
            doctor.switch(self._api, self._id, self._predict(revision, items))

    def _predict(self, revision: str, items: Sequence[Placed]) -> str:
        """Have every task carry its place under a version of that name; returns the name."""
        counts: dict[str, int] = self._api.get(f"/api/projects/{self._id}/model-versions/")
        tried = sorted(name for name in counts if name.startswith(revision))
        for name in tried:
            if counts[name] == len(items):
                return name  # sent before, and its answer was lost
        version = f"{revision}-{len(tried) + 1}" if tried else revision
        predictions = [
            {"task": int(item.remote_id), "score": item.place, "result": [], "model_version": version}
            for item in items
        ]
        path = f"/api/projects/{self._id}/import/predictions"
        # All in one: every call costs the server as much as the whole project has tasks.
        answer = self._api.request("POST", path, json=predictions, timeout=LONG)
        if answer.get("created") != len(predictions):
            raise PlatformError(
                f"Label Studio took {answer.get('created')} of {len(predictions)} places in the queue",
                "The order shown is still the one before. `curation doctor` looks for tasks that are gone.",
            )
        return version

    def _show_columns(self, items: Sequence[Placed]) -> Iterator[Sequence[str]]:
        """Set what changed, one request for all tasks that get the same value, the top of the queue first."""
        calls: dict[tuple[str, str | float], list[str]] = defaultdict(list)
        done: list[str] = []
        for item in items:
            if not item.changed:
                continue
            wanted = list(self._fields(item.columns).items())
            if len(calls) + sum(key not in calls for key in wanted) > COLUMN_CALLS:
                break
            for key in wanted:
                calls[key].append(item.remote_id)
            done.append(item.remote_id)
        for (field, value), ids in calls.items():
            self._set(field, value, ids)
        yield done

    def _fields(self, columns: Columns) -> dict[str, str | float]:
        """Columns as fields of a task's data, which the Data Manager shows, sorts and filters by."""
        values = ((name, getattr(columns, column)) for name, column in _FIELDS.items())
        return {self._options.prefix + name: value for name, value in values if value is not None}

    def _set(self, field: str, value: str | float, ids: Sequence[str]) -> None:
        if not ids:
            raise ValueError("no tasks: the server would take that for all of them")
        self._api.request(
            "POST",
            "/api/dm/actions",
            params={"id": "add_data_field", "project": self._id},
            json={
                "value_name": field,
                "value_type": "String" if isinstance(value, str) else "Number",
                "value": value,
                "selectedItems": {"all": False, "included": [int(remote_id) for remote_id in ids]},
            },
            timeout=LONG,
        )


def in_parts(tasks: Sequence[dict[str, Any]], cap: int) -> Iterator[list[dict[str, Any]]]:
    """The tasks in order, in parts of at most so many bytes as JSON; one that is longer is a part by itself."""
    part: list[dict[str, Any]] = []
    size = 0
    for task in tasks:
        length = len(orjson.dumps(task))
        if part and size + length > cap:
            yield part
            part, size = [], 0
        part.append(task)
        size += length
    if part:
        yield part

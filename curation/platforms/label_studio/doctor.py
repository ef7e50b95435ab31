"""What can silently spoil the order of a project, looked for and mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from curation.platforms.contract import Finding
from curation.platforms.label_studio import views
from curation.platforms.label_studio.api import Api

SAMPLING = "Uncertainty sampling"
MANY = 10_000


def switch(api: Api, project: int, version: str) -> None:
    """Have "Label All Tasks" follow the predictions of a version, without showing these to annotators."""
    # All three in one: changing the last alone would reset the first.
    wanted = {"model_version": version, "sampling": SAMPLING, "show_collab_predictions": False}
    api.request("PATCH", f"/api/projects/{project}/", json=wanted)


def follows(settings: dict[str, Any], revision: str) -> bool:
    """Whether a project's settings serve the order of that name."""
    version = str(settings.get("model_version") or "")
    return settings.get("sampling") == SAMPLING and version.startswith(revision)


def examine(
    api: Api, project: int, revision: str | None, items: int, prefix: str, *, repair: bool
) -> Iterator[Finding]:
    settings: dict[str, Any] = api.get(f"/api/projects/{project}/")
    versions: dict[str, int] = api.get(f"/api/projects/{project}/model-versions/")
    yield Finding("server", True, f"Label Studio {api.get('/api/version').get('release', '?')}")
    yield _order(api, project, revision, settings, versions, repair)
    if revision is not None:
        count = max((n for name, n in versions.items() if name.startswith(revision)), default=0)
        says = f"{count:,} of {items:,} tasks have a place in the queue"
        yield Finding("places", count >= items, says + ("" if count >= items else ": run `curation sync`"))
    yield _tabs(api, project, prefix, repair)
    yield _size(settings, versions)


def _order(
    api: Api,
    project: int,
    revision: str | None,
    settings: dict[str, Any],
    versions: dict[str, int],
    repair: bool,
) -> Finding:
    if revision is None:
        return Finding("order", False, "nothing was pushed yet: run `curation sync`")
    if follows(settings, revision):
        return Finding("order", True, f"{SAMPLING} by {settings['model_version']}")
    name = max(
        (name for name in versions if name.startswith(revision)), key=versions.__getitem__, default=None
    )
    says = f"sampling is {settings.get('sampling')!r}, model version {settings.get('model_version')!r}: "
    if repair and name:
        switch(api, project, name)
        return Finding("order", True, says + f"now {SAMPLING} by {name}", repaired=True)
    hint = "`curation doctor --repair` sets it back" if name else "the order is gone: run `curation sync`"
    return Finding("order", False, f"{says}tasks are not served riskiest first; {hint}")


def _tabs(api: Api, project: int, prefix: str, repair: bool) -> Finding:
    if repair:
        made = views.ensure(api, project, prefix)
        return Finding("tabs", True, f"made {', '.join(made)}" if made else "all there", repaired=bool(made))
    there = Counter(view["data"].get("title") for view in api.get("/api/dm/views/", project=project))
    missing = [title for title in views.titles() if title not in there]
    hint = f"missing: {', '.join(missing)}; `curation doctor --repair` makes them"
    return Finding("tabs", not missing, hint if missing else "all there")


def _size(settings: dict[str, Any], versions: dict[str, int]) -> Finding:
    tasks, kept = int(settings.get("task_number") or 0), sum(versions.values())
    says = f"{tasks:,} tasks, {kept:,} predictions of {len(versions)} orders"
    if tasks > MANY:
        says += "; at this size the server should run on Postgres: on SQLite every long write locks annotators out"
    return Finding("size", True, says)

"""Finding or making the project that a target will be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from curation.errors import InputError, PlatformError
from curation.platforms.hooks import LABEL_STUDIO_HEADER
from curation.platforms.label_studio.answers import FIELDS, read_task
from curation.platforms.label_studio.api import Api
from curation.platforms.label_studio.doctor import SAMPLING
from curation.platforms.label_studio.mapping import (
    DEFAULT_HEAD,
    Kind,
    Options,
    TextMapping,
    find_answers,
    find_text,
    is_pair,
    label_config,
    own_options,
)
from curation.samples.sample import Sample

OLDEST = (1, 13)
"""Oldest server that has all that is asked of one."""

HOOK_EVENTS = ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"]


_LOOK = 100
MANY = 1000
"""Samples from which on it matters what database the server uses, which it does not tell."""

_DATABASE = "run the server on Postgres for so many samples: on SQLite every long write locks annotators out"
_NAMES = ("risk_percentile", "risk_tier", "risk", "danger", "safety", "risk_scorer")
_INSTRUCTION = (
    "<p>Tasks come in the order of risk: what would make the model less safe, if it were trained on, comes first.</p>"
    "<p><b>Approve</b> (a) what the model may be trained on, <b>reject</b> (r) what it must not, and say why.</p>"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What connecting would do. `project_id` is None if a project is to be made."""

    server: str
    user: str
    token: str
    project_id: int | None
    title: str
    options: Options
    tasks: int
    readable: int
    notes: tuple[str, ...] = ()


def plan(
    api: Api,
    project: str,
    samples: Iterable[Sample],
    *,
    kind: Kind | None,
    heat: bool,
    head: int | None,
    text: TextMapping | None,
    answers: Mapping[str, str | None],
) -> Plan:
    """Look at the server and at what is asked for; changes nothing.

    `project` is a number or a title; a title that nobody has is that of a new project, laid out as `kind` says or as
    the dataset's first `samples` need. Raises PlatformError or InputError with what to do.
    """
    server, user, token = _server(api)
    found = _find(api, project)
    size = head or DEFAULT_HEAD
    first = list(samples)
    notes = (_DATABASE,) if len(first) >= MANY else ()
    if found is None:
        chosen: Kind = kind or ("pair" if first and all(map(is_pair, first)) else "chat")
        return Plan(server, user, token, None, project, own_options(chosen, size, heat=heat), 0, 0, notes)
    config = str(found["label_config"])
    plan = Plan(server, user, token, int(found["id"]), str(found["title"]), own_options("chat", size), 0, 0)
    kinds: tuple[Kind, ...] = ("chat", "pair")
    for each, with_heat in product(kinds, (False, True)):
        if _same(config, label_config(each, heat=with_heat)):
            options = own_options(each, size, heat=with_heat)
            return replace(plan, options=options, tasks=int(found["task_number"] or 0))
    return _adopt(api, replace(plan, tasks=int(found["task_number"] or 0)), config, size, text, answers)


def carry_out(api: Api, plan: Plan) -> int:
    """Make the project if it is to be made; returns its number."""
    if plan.project_id is not None:
        return plan.project_id
    made = api.request(
        "POST",
        "/api/projects/",
        json={
            "title": plan.title,
            "label_config": label_config(plan.options.kind, heat=plan.options.heat),
            "sampling": SAMPLING,
            "show_collab_predictions": False,
            "maximum_annotations": 1,
            "expert_instruction": _INSTRUCTION,
        },
    )
    return int(made["id"])


def add_hook(api: Api, project_id: int, url: str, secret: str) -> None:
    """Have the server ring at a URL when annotations change, with the secret in a header; replaces an earlier one."""
    for hook in api.get("/api/webhooks/", project=project_id):
        if hook["url"] == url:
            api.request("DELETE", f"/api/webhooks/{hook['id']}/")
    hook = {
        "project": project_id,
        "url": url,
        "send_payload": False,
        "send_for_all_actions": False,
        "actions": HOOK_EVENTS,
        "headers": {LABEL_STUDIO_HEADER: secret},
    }
    try:
        api.request("POST", "/api/webhooks/", json=hook)
    except PlatformError as error:
        if "reserved network" not in error.message:
            raise
        raise PlatformError(
            "Label Studio rings no address of a private network",
            "Start it with SSRF_PROTECTION_ENABLED=false, or do without: decisions are looked for every 30 s anyway.",
        ) from None


def _server(api: Api) -> tuple[str, str, str]:
    release = str(api.get("/api/version").get("release", ""))
    parts = release.split(".")
    version = tuple(int(part) for part in parts[:2] if part.isdigit())
    if version < OLDEST:
        raise PlatformError(
            f"the server at {api.url} says it is Label Studio {release or 'without a version'}",
            f"Version {'.'.join(map(str, OLDEST))} or newer is needed.",
        )
    user = api.get("/api/current-user/whoami")
    token = "legacy" if api.legacy else "personal"
    return f"Label Studio {release}", str(user.get("email", "?")), token


def _find(api: Api, project: str) -> dict[str, Any] | None:
    if project.isdigit():
        found: dict[str, Any] = api.get(f"/api/projects/{project}/")
        return found
    if not project.strip() or len(project) > 50:
        raise InputError(f"{project!r:.80} is no title for a project", "Use 3 to 50 characters.")
    page = api.get("/api/projects/", title=project, page_size=100)
    same = [each for each in page["results"] if each["title"] == project]
    if len(same) > 1:
        raise InputError(
            f"{len(same)} projects have the title {project!r}", "Name one by its number, as in its address."
        )
    return same[0] if same else None


def _adopt(
    api: Api,
    plan: Plan,
    config: str,
    head: int,
    text: TextMapping | None,
    answers: Mapping[str, str | None],
) -> Plan:
    decides = find_answers(config, answers)
    page = api.get("/api/tasks/", project=plan.project_id, page_size=_LOOK, fields="all", resolve_uri="false",
                   include=FIELDS)  # fmt: skip
    tasks: list[dict[str, Any]] = page["tasks"]
    data = [task["data"] for task in tasks]
    taken = {name for row in data for name in _NAMES if name in row}
    options = Options(
        own=False,
        text=text or find_text(data, config),
        answers=decides,
        prefix="curation_" if taken else "",
        head=head,
    )
    read = [read_task(task, options, str) for task in tasks]
    readable = sum(item.sample is not None for item in read)
    if tasks and not readable:
        raise InputError(
            f"none of the first {len(tasks)} tasks holds a conversation: {read[0].problem}",
            "Say where it is: --messages FIELD, or --prompt FIELD --answer FIELD.",
        )
    notes: list[str] = []
    if taken:
        notes.append(f"tasks have fields named {', '.join(sorted(taken))}: ours begin with curation_")
    if readable < len(tasks):
        notes.append(
            f"{len(tasks) - readable} of the first {len(tasks)} tasks hold no conversation: left alone"
        )
    return replace(plan, options=options, readable=readable, notes=tuple(notes))


def _same(config: str, own: str) -> bool:
    return config.split() == own.split()

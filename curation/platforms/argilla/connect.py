"""Finding or making the dataset that a target will be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from curation.errors import InputError, PlatformError
from curation.platforms.argilla import doctor
from curation.platforms.argilla.answers import read_record
from curation.platforms.argilla.api import Api
from curation.platforms.argilla.mapping import (
    APPROVE,
    DECISION,
    FIELD,
    HEAT,
    HEAT_TEMPLATE,
    PLACE,
    PROPERTIES,
    REASON,
    REJECT,
    Options,
    own_options,
)
from curation.platforms.mapping import DEFAULT_HEAD, TextMapping, choose_answers, detect_text

OLDEST = (2, 4)
"""Oldest server with chat fields."""

HOOK_EVENTS = ["response.created", "response.updated", "response.deleted", "record.created"]

_LOOK = 100
_GUIDELINES = (
    "Records come in the order of risk: what would make the model less safe, if it were trained on, comes first.\n\n"
    "**Approve** what the model may be trained on, **reject** what it must not, and say why. Then *submit*: a record "
    "that is only discarded or saved as a draft is not decided."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What connecting would do. `dataset_id` is None if a dataset is to be made, with `min_submitted` answers each.

    `adds` are the metadata properties that it will get.
    """

    server: str
    user: str
    role: str
    workspace: str
    dataset_id: str | None
    name: str
    options: Options
    min_submitted: int
    records: int = 0
    readable: int = 0
    adds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def plan(
    api: Api,
    workspace: str,
    name: str,
    *,
    head: int | None,
    min_submitted: int | None,
    heat: bool,
    text: TextMapping | None,
    answers: Mapping[str, str | None],
) -> Plan:
    """Look at the server and at what is asked for; changes nothing.

    `name` is that of a dataset in the workspace; one that nobody has is that of a new dataset. Raises PlatformError or
    InputError with what to do.
    """
    server, user, role = _server(api)
    workspace_id = _workspace(api, workspace)
    found = _find(api, workspace_id, name)
    own = own_options(head or DEFAULT_HEAD, heat=heat)
    if found is None:
        if not name.strip() or len(name) > 200:
            raise InputError(f"{name!r:.80} is no name for a dataset", "Use 1 to 200 characters.")
        return Plan(
            server, user, role, workspace, None, name, own, min_submitted or 1, adds=tuple(PROPERTIES)
        )
    dataset_id = str(found["id"])
    needed = int(found["distribution"]["min_submitted"])
    if found["status"] != "ready":
        raise PlatformError(
            f"the dataset {name!r} is a draft", "Publish it, or give a name that nobody has for a new one."
        )
    plan = Plan(server, user, role, workspace, dataset_id, name, own, needed)
    if min_submitted not in (None, needed):
        says = f"the dataset wants {needed} answers for each record: --min-submitted changes nothing there"
        plan = replace(plan, notes=(says,))
    fields = api.get(f"/datasets/{dataset_id}/fields")["items"]
    questions = api.get(f"/datasets/{dataset_id}/questions")["items"]
    if _made_here(fields, questions):
        plan = replace(plan, options=own_options(own.head, heat=len(fields) > 1))
    else:
        plan = _adopt(api, plan, fields, questions, text, answers)
    lacking, wrong = doctor.missing_properties(api, dataset_id, plan.options.prefix)
    if wrong:
        raise PlatformError(
            f"the dataset has metadata properties of another type than ours: {', '.join(wrong)}",
            "Delete them in its settings, or let a new dataset be made.",
        )
    return replace(plan, adds=tuple(lacking))


def carry_out(api: Api, plan: Plan) -> str:
    """Make the dataset if it is to be made, and what it lacks; returns its id."""
    dataset_id = plan.dataset_id or _make(api, plan)
    doctor.add_properties(api, dataset_id, plan.options.prefix)
    doctor.store_sort(api, dataset_id, plan.options.prefix)
    return dataset_id


def add_hook(api: Api, url: str) -> str:
    """Have the server ring at a URL when something is answered; returns the secret that it signs with.

    An earlier one for the same URL is replaced. Only owners may, and hooks are for all datasets of a server.
    """
    for hook in api.get("/webhooks")["items"]:
        if hook["url"] == url:
            api.request("DELETE", f"/webhooks/{hook['id']}")
    hook = {"url": url, "events": HOOK_EVENTS, "description": "curation: look at a dataset now"}
    return str(api.request("POST", "/webhooks", json=hook)["secret"])


def _make(api: Api, plan: Plan) -> str:
    import argilla as rg

    client = api.sdk
    with api.told_plainly():
        place = rg.CustomField(HEAT, title="Reasons", template=HEAT_TEMPLATE, required=False, _client=client)
        reasons = [place] if plan.options.heat else []
        settings = rg.Settings(
            # Not as markdown: a reviewer must see what the model would be trained on.
            fields=[rg.ChatField(FIELD, title="Conversation", use_markdown=False, _client=client), *reasons],
            questions=[
                rg.LabelQuestion(
                    DECISION, {APPROVE: "Approve", REJECT: "Reject"}, title="May a model be trained on this?"
                ),
                rg.TextQuestion(REASON, title="Why, if you reject it", required=False),
            ],
            guidelines=_GUIDELINES,
            allow_extra_metadata=True,
            distribution=rg.TaskDistribution(min_submitted=plan.min_submitted),
        )
        made = rg.Dataset(plan.name, workspace=plan.workspace, settings=settings, client=client).create()
    return str(made.id)


def _server(api: Api) -> tuple[str, str, str]:
    user = api.get("/me")
    release = str(api.get("/version").get("version", ""))
    version = tuple(int(part) for part in release.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        raise PlatformError(
            f"the server at {api.url} says it is Argilla {release or 'without a version'}",
            f"Version {'.'.join(map(str, OLDEST))} or newer is needed.",
        )
    if user["role"] not in ("owner", "admin"):
        raise PlatformError(
            f"the key is that of {user['username']!r:.60}, an {user['role']}",
            "Use that of an owner, or of an admin of the workspace: CURATION_ARGILLA_API_KEY.",
        )
    return f"Argilla {release}", str(user["username"]), str(user["role"])


def _workspace(api: Api, name: str) -> str:
    known = {each["name"]: str(each["id"]) for each in api.get("/me/workspaces")["items"]}
    if name not in known:
        raise PlatformError(
            f"there is no workspace {name!r:.80} that this key may use",
            f"Use one of: {', '.join(sorted(known)[:20]) or 'none; an owner can make one'}.",
        )
    return known[name]


def _find(api: Api, workspace_id: str, name: str) -> dict[str, Any] | None:
    every = api.get("/me/datasets", workspace_id=workspace_id)["items"]
    same = [each for each in every if each["name"] == name and str(each["workspace_id"]) == workspace_id]
    return same[0] if same else None


def _made_here(fields: list[dict[str, Any]], questions: list[dict[str, Any]]) -> bool:
    """Whether a dataset has exactly the fields and the questions of those made here."""
    shown = {each["name"]: each["settings"] for each in fields}
    texts = {"type": "chat", "use_markdown": False}
    reasons = {"type": "custom", "template": HEAT_TEMPLATE, "advanced_mode": False}
    ours = shown in ({FIELD: texts}, {FIELD: texts, HEAT: reasons})
    return ours and _choices(questions) == {DECISION: [APPROVE, REJECT], REASON: []}


def _adopt(
    api: Api,
    plan: Plan,
    fields: list[dict[str, Any]],
    questions: list[dict[str, Any]],
    text: TextMapping | None,
    answers: Mapping[str, str | None],
) -> Plan:
    hint = (
        "Questions of a published dataset cannot be changed; without a fitting one let a new dataset be made."
    )
    decides = choose_answers(_choices(questions), answers, "question", hint)
    page = api.get(f"/datasets/{plan.dataset_id}/records", limit=_LOOK, include="responses")
    records: list[dict[str, Any]] = page["items"]
    options = Options(
        own=False,
        text=text or _text(fields),
        answers=decides,
        prefix=_prefix(api, str(plan.dataset_id)),
        head=plan.options.head,
    )
    read = [read_record(record, options, str) for record in records]
    readable = sum(item.sample is not None for item in read)
    if records and not readable:
        raise InputError(
            f"none of the first {len(records)} records holds a conversation: {read[0].problem}",
            "Say where it is: --messages FIELD, or --prompt FIELD --answer FIELD.",
        )
    notes = [*plan.notes, doctor.EXECUTES]
    if options.prefix:
        notes.append(f"it has metadata properties with the names of ours: ours begin with {options.prefix}")
    if readable < len(records):
        notes.append(
            f"{len(records) - readable} of the first {len(records)} records hold no conversation: left alone"
        )
    total = int(page.get("total") or len(records))
    return replace(plan, options=options, records=total, readable=readable, notes=tuple(notes))


def _text(fields: list[dict[str, Any]]) -> TextMapping:
    """Where the conversations are: in the only chat field, otherwise by the names of the fields."""
    chats = [each["name"] for each in fields if each["settings"]["type"] == "chat"]
    if len(chats) == 1:
        return TextMapping(messages=chats[0])
    return detect_text([{each["name"]: None for each in fields}], "records")


def _prefix(api: Api, dataset_id: str) -> str:
    """What stands before the names of our metadata properties: nothing, unless others have one of these names."""
    there = doctor.properties(api, dataset_id)
    return "" if PLACE in there or not there.keys() & PROPERTIES.keys() else f"{doctor.OURS}_"


def _choices(questions: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Questions that can decide or say why: the values of those with one label as answer, none of the others."""
    kinds = ("label_selection", "multi_label_selection", "text")
    return {
        each["name"]: [str(option["value"]) for option in each["settings"].get("options", [])]
        if each["settings"]["type"] == "label_selection"
        else []
        for each in questions
        if each["settings"]["type"] in kinds
    }

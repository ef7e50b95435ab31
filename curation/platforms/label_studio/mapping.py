"""How a project's tasks are read as samples, and its annotations as answers.

Projects made here come with a labeling configuration and its mapping. A project of somebody else's is adopted if its
configuration has a control that can say approve and reject, and its tasks hold conversations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from curation.errors import InputError
from curation.platforms.mapping import DEFAULT_HEAD, AnswerMapping, TextMapping, choose_answers, detect_text
from curation.samples.sample import Sample

CHAT = """<View>
  <Style>.lsf-paragraphs {{ white-space: pre-wrap }}</Style>
  <Paragraphs name="chat" value="$messages" layout="dialogue" nameKey="role" textKey="content"/>
{controls}{heat}
</View>"""

PAIR = """<View>
  <Header value="Instruction"/>
  <Text name="prompt" value="$instruction"/>
  <Header value="Response"/>
  <Text name="chat" value="$response"/>
{controls}{heat}
</View>"""

CONTROLS = """  <Choices name="decision" toName="chat" choice="single-radio" showInline="true" required="true">
    <Choice value="Approve" hotkey="a"/>
    <Choice value="Reject" hotkey="r"/>
  </Choices>
  <Choices name="reason" toName="chat" choice="multiple" showInline="true" required="true"
           requiredMessage="Say why it is rejected"
           visibleWhen="choice-selected" whenTagName="decision" whenChoiceValue="Reject">
    <Choice value="Unsafe" hotkey="u"/>
    <Choice value="Incorrect" hotkey="i"/>
    <Choice value="Format" hotkey="f"/>
    <Choice value="Other" hotkey="o"/>
  </Choices>
  <TextArea name="note" toName="chat" rows="2" maxSubmissions="1" editable="true"
            placeholder="Note (optional)"/>"""

HEAT = """
  <Collapse>
    <Panel value="Where the risk comes from">
      <HyperText name="heat" value="$risk_heat" inline="true"/>
    </Panel>
  </Collapse>"""

HEAT_FIELD = "risk_heat"

Kind = Literal["chat", "pair"]


class Options(BaseModel):
    """What a target remembers of a project. `own`: it was made here, so tasks are laid out as `kind` says.

    `prefix` stands before the names of the risk columns, where somebody else's fields have these names. `head`: how
    many undecided samples it shows at a time. `heat`: whether it has a place for reasons.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    own: bool
    kind: Kind = "chat"
    text: TextMapping
    answers: AnswerMapping
    prefix: str = ""
    heat: bool = False
    head: int = DEFAULT_HEAD


def own_options(kind: Kind, head: int, *, heat: bool = False) -> Options:
    """The options of a project made here."""
    text = (
        TextMapping(messages="messages")
        if kind == "chat"
        else TextMapping(prompt="instruction", answer="response")
    )
    answers = AnswerMapping(reason="reason", note="note")
    return Options(own=True, kind=kind, text=text, answers=answers, heat=heat, head=head)


def label_config(kind: Kind, *, heat: bool = False) -> str:
    """The labeling configuration of a project made here."""
    return (CHAT if kind == "chat" else PAIR).format(controls=CONTROLS, heat=HEAT if heat else "")


def is_pair(sample: Sample) -> bool:
    """Whether a sample is one instruction and one response, nothing else."""
    return [m.role for m in sample.messages] == ["user", "assistant"] and sample.train == "last"


def task_data(sample: Sample, kind: Kind) -> dict[str, Any] | None:
    """What a task of a project made here holds of a sample; None if that kind of project cannot show it."""
    if kind == "pair":
        if not is_pair(sample):
            return None
        return {"sample_id": sample.id, "instruction": sample.prompt, "response": sample.answer}
    return {"sample_id": sample.id, "train": sample.train, "messages": sample.as_chat()}


def find_text(tasks: Iterable[Mapping[str, Any]], config: str) -> TextMapping:
    """How the data of existing tasks hold conversations; without tasks, what the configuration shows.

    Raises InputError, saying how to name the fields, if that cannot be told.
    """
    rows = list(tasks)
    if not rows:
        _, shown = _controls(config)
        rows = [dict.fromkeys(shown)]
    return detect_text(rows, "tasks")


def find_answers(config: str, given: Mapping[str, str | None]) -> AnswerMapping:
    """Which control of a labeling configuration decides; `given` holds what the user said of it.

    `approve` and `reject` are given as CONTROL=VALUE. Raises InputError, listing the controls, if none fits.
    """
    controls, _ = _controls(config)
    hint = "Or add a <Choices> with Approve and Reject to the configuration."
    return choose_answers(controls, given, "control", hint)


def _controls(config: str) -> tuple[dict[str, list[str]], list[str]]:
    """Choices and text areas of a configuration with their values, and the data fields that it shows."""
    from label_studio_sdk.label_interface.interface import LabelInterface

    try:
        parsed = LabelInterface(config)
        controls = {
            str(control.name): [str(value) for value in control.labels]
            for control in parsed.controls
            if control.tag in ("Choices", "TextArea")
        }
        shown = [str(tag.value_name) for tag in parsed.objects]
    except Exception as error:  # whatever the parser of somebody else's XML raises
        raise InputError(
            f"the project's labeling configuration cannot be read: {type(error).__name__}",
            "Save one in its settings, or let a new project be made: --project TITLE.",
        ) from None
    return controls, shown

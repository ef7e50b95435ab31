"""Which commands there are, under which heading of the help, and where each one lives.

A command's module is imported when the command is used. So the help and the completion of a shell open without
waiting for a database's or a model's libraries, and no command waits for what only another one needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """A line of the help: a name, the module in this package and what in it is the command, and what it does."""

    name: str
    module: str
    attribute: str
    does: str


COMMANDS = {
    "Start here": [
        Entry("demo", "triage", "demo", "See it work: shipped samples, a small real model, a ranked list, a report."),
        Entry("triage", "triage", "triage", "Ingest, score, queue and report in one go."),
        Entry("plan", "plan", "plan", "Say what a triage would take: rows, tokens, time, memory, rows to review."),
    ],
    "Step by step": [
        Entry("ingest", "ingest", "ingest", "Read samples into the ledger; bad rows are kept aside, with reasons."),
        Entry("score", "triage", "score", "Score the samples that this scorer has not scored yet."),
        Entry("watch", "watch", "watch", "Read and score the files that appear in a folder, for ever or once."),
        Entry("queue", "queue", "queue", "Page through samples: quarantined, not yet scored, then riskiest first."),
        Entry("explain", "explain", "explain", "Say which tokens and layers a score comes from."),
        Entry("report", "report", "report", "Write the report, one self-contained HTML file."),
        Entry("digest", "digest", "digest", "Say what happened in the last day, in the terminal and as a page."),
        Entry("stability", "stability", "stability", "Say how far ranks depend on the anchors that were there."),
        Entry("select", "select", "select", "Propose the largest part of a dataset whose drift stays under a bound."),
    ],
    "Labeling platforms": [
        Entry("connect", "connect", "app", "Review on Label Studio or Argilla, riskiest first."),
        Entry("sync", "targets", "sync", "Bring decisions in, and samples in the order of risk out."),
        Entry("heat", "targets", "heat", "Show reviewers where the risk of the riskiest samples comes from."),
        Entry("targets", "targets", "targets", "The connected projects and datasets."),
        Entry("hooks", "hooks", "app", "Who is told of new risky samples, by a signed webhook."),
    ],
    "What may leave": [
        Entry("decide", "decide", "decide", "Approve or reject a sample, or read decisions from a file."),
        Entry("conflicts", "decide", "conflicts", "List samples on which reviewers disagree."),
        Entry("policy", "policy", "policy", "What may leave."),
        Entry("export", "export", "export", "Write what the policy lets out to a new folder, sealed."),
        Entry("verify", "export", "verify", "Find any change to an export."),
        Entry("stats", "stats", "stats", "How much was decided, how far reviewers agree, how many were rejected."),
        Entry("budget", "stats", "budget", "How many rows to read to catch a share of what would be rejected."),
        Entry("history", "history", "history", "Every score, decision and export of one sample, in order of time."),
        Entry("keys", "policy", "keys", "Keys to sign exports with."),
    ],
    "Many machines": [
        Entry("worker", "fleet", "worker", "Score whatever arrives, or look after the platforms, until stopped."),
        Entry("beat", "fleet", "beat", "Ring the workers whenever something waits."),
        Entry("status", "fleet", "status", "What is left to score, who is at it, how fast, and until when."),
        Entry("front", "fleet", "front", "Have a dataset, its newest samples, or a target looked at first."),
        Entry("retry", "fleet", "retry", "Let quarantined samples be tried again."),
        Entry("scorers", "fleet", "scorers", "The scorers of this ledger, and which of them the fleet uses."),
        Entry("serve", "serve", "serve", "Take samples and give out the queue over HTTP, until interrupted."),
        Entry("token", "token", "app", "Who may use the service."),
    ],
    "Tools": [
        Entry("directions", "directions", "app", "Make and check directions, along which risk is measured."),
        Entry("dynamics", "dynamics", "app", "Follow training runs along the danger and the safety direction."),
        Entry("evaluate", "evaluate", "evaluate", "Measure what fine-tuning did to a model's safety."),
        Entry("study", "study", "study", "See what fine-tuning on rows chosen by score leaves of refusals."),
        Entry("db", "admin", "db", "The ledger's database."),
        Entry("doctor", "admin", "doctor", "Check the installation and the connected platforms."),
    ],
}  # fmt: skip

_ENTRIES = {entry.name: entry for entries in COMMANDS.values() for entry in entries}


class Commands(TyperGroup):
    """All commands by name and description; the one that is used is put in the place of its description."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for panel, entries in COMMANDS.items():
            for entry in entries:
                self.add_command(TyperCommand(entry.name, help=entry.does, rich_help_panel=panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, described, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else described, rest


def load(name: str) -> Any:
    """The command of this name with its options, from its module."""
    entry = _ENTRIES[name]
    found = getattr(import_module(f"curation.cli.{entry.module}"), entry.attribute)
    holder = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    holder.callback()(lambda: None)  # otherwise a holder of one command becomes that command
    return cast(TyperGroup, typer.main.get_command(holder)).commands[name]

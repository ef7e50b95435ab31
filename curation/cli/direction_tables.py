"""What `curation directions` prints: cards, norms and steering, as tables and as JSON.

Cards and module names of imported adapters were written by others: every one of them is shown as plain text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from curation.cli.console import plain
from curation.sqsd.adapters import Adapter
from curation.sqsd.cards import Card, matching_options
from curation.sqsd.norms import TypeSummary
from curation.sqsd.steering import Steering


def card_text(card: Card, out: Path) -> Text:
    """What was made, and what to do with it next."""
    kind = card["kind"]
    loss = card.get("loss")
    curve = f", loss {loss[0]:.3f} -> {loss[-1]:.3f} in {len(loss)} steps" if loss else ""
    option = "--danger-state" if kind == "state" else f"--{kind}"
    how = f" {options}" if (options := matching_options(card)) else ""
    return Text.assemble(
        (f"{kind} adapter", "bold"),
        f" written to {plain(str(out))}{curve}\n",
        *((f"{note}\n", "yellow") for note in _left_out(card.get("anchors", {}))),
        (
            f"use it: curation triage DATA --model {plain(card['model']['name'])} {option} {plain(str(out))}{how}",
            "dim",
        ),
    )


def _left_out(anchors: dict[str, int]) -> Iterator[str]:
    for key, reason in (("rejected", "could not be read"), ("not_tokenised", "could not be tokenised")):
        if count := anchors.get(key):
            yield f"{count:,} rows {reason} and took no part"


def card_table(adapter: Adapter, card: Card | None) -> Table:
    """The card as key and value; long lists shortened."""
    table = Table(title=plain(str(adapter.path)), title_justify="left", show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    if card is None:
        table.add_row("card", "none: not made by curation")
        card = {"base_model": adapter.base_model, "fingerprint": adapter.fingerprint}
    elif card.get("fingerprint") != adapter.fingerprint:
        table.add_row("warning", Text("the card is of other weights than these", "yellow"))
    for key, value in card.items():
        table.add_row(Text(plain(key)), Text(plain(_short(value))))
    return table


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items() if v not in (None, [], ()))
    if isinstance(value, list) and len(value) > 8 and all(isinstance(v, float) for v in value):
        return f"{value[0]:.3f} -> {value[-1]:.3f} ({len(value)} steps, lowest {min(value):.3f})"
    return str(value)


def norm_table(rows: Sequence[TypeSummary]) -> Table:
    """Norms of V = B A by module type, and cosines with the other direction where there is one."""
    compared = any(r.cosine for r in rows)
    table = Table(
        title="norm of V = B A by module type, and its share of |V|²", title_justify="left", box=SIMPLE
    )
    table.add_column("modules", no_wrap=True)
    for heading in ("layers", "mean", "max (layer)", "share"):
        table.add_column(heading, justify="right")
    if compared:
        table.add_column("cosine (min…max)", justify="right", no_wrap=True)
    for r in rows:
        angle = "{:+.2f} ({:+.2f}…{:+.2f})".format(*r.cosine) if r.cosine else "-"
        table.add_row(
            Text(plain(r.type)),
            str(r.count),
            f"{r.mean:.3g}",
            f"{r.largest:.3g}" if r.largest_layer is None else f"{r.largest:.3g} ({r.largest_layer})",
            f"{r.share:.1%}",
            *([angle] if compared else ()),
        )
    return table


def steering_table(harmful: Steering, harmless: Steering | None = None) -> Table:
    """Mean refusal margins by factor; harmless prompts show whether the model refuses what it should not."""
    prompts = harmful.margins.shape[1]
    table = Table(
        title=f"steering along {harmful.kind}, {prompts} harmful prompts", title_justify="left", box=SIMPLE
    )
    for heading in ("factor", "refusal margin (nats, higher = safer)", "change ± SE"):
        table.add_column(heading, justify="right")
    if harmless:
        table.add_column(f"margin on {harmless.margins.shape[1]} harmless prompts", justify="right")
    for i, factor in enumerate(harmful.factors):
        change, error = harmful.changes[i]
        table.add_row(
            f"{factor:g}",
            f"{harmful.means[i]:+.2f}",
            f"{change:+.2f} ± {error:.2f}" if i else "",
            *([f"{harmless.means[i]:+.2f}"] if harmless else []),
        )
    return table


def steering_json(harmful: Steering, harmless: Steering | None = None) -> dict[str, Any]:
    """The same for programs, with the margin of every prompt."""
    return {
        "direction": harmful.kind,
        "confirmed": harmful.confirmed,
        "turns_back_at": harmful.turns_back_at,
        "verdict": harmful.verdict,
        "factors": harmful.factors,
        "margin": harmful.means,
        "change": [change for change, _ in harmful.changes],
        "standard_error": [error for _, error in harmful.changes],
        "margin_by_prompt": harmful.margins.tolist(),
        "harmless_margin": harmless.means if harmless else None,
    }

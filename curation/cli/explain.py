"""`curation explain`: which tokens and modules one sample's score comes from."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from curation.cli.console import console, plain, print_json, progress
from curation.cli.options import Dataset, Json, Quiet, ScorerId
from curation.errors import InputError
from curation.ledger.engine import open_ledger, reading
from curation.ledger.explanations import riskiest_without_reasons
from curation.ledger.intervals import Interval, intervals_of
from curation.ledger.queue import QueueItem, score_of
from curation.ledger.samples import Occurrence, find_sample, list_occurrences
from curation.ledger.scores import find_scorer
from curation.settings import get_settings

_SHADES = 4


def explain(
    id: Annotated[
        str | None,
        typer.Argument(help="Start of a sample's id, at least 6 digits (`curation queue` shows it)."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Instead of one sample: so many of the riskiest, for the pages.")
    ] = None,
    dataset: Dataset = None,
    scorer: ScorerId = None,
    loss_tokens: Annotated[
        bool, typer.Option("--loss-tokens", help="Also the second token map: whose loss would fall. Slower.")
    ] = False,
    modules: Annotated[int, typer.Option(min=0, help="Modules to list.")] = 8,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say where a score comes from: its tokens coloured (red = toward danger, blue = toward safety) and the
    modules that weigh most. The sample is scored once more for it, and the pages of [b]curation serve[/b] show it from
    then on. With [b]--top[/b], those of the riskiest that nobody has asked about are explained and only kept.

    Examples: [b]curation explain 3f9a2c --loss-tokens[/b], [b]curation explain --top 50[/b]
    """
    if (id is None) == (top is None):
        raise InputError("explain what?", "Give the start of a sample's id, or --top N for the riskiest.")
    if top is not None:
        _explain_riskiest(top, dataset, scorer, json, quiet)
        return
    assert id is not None
    from curation.cli.scoring import same_scorer
    from curation.reconcile.explain import keep_explanation
    from curation.sqsd.maps import explain as explain_sample

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        stored = find_scorer(conn, scorer)
        row = find_sample(conn, id, dataset)
        item = score_of(conn, stored.id, row.pk, settings.tiers)
        band = intervals_of(conn, row.dataset_id, stored.id, [row.pk]).get(row.pk)
        places = list_occurrences(conn, row.pk)
    found = explain_sample(same_scorer(settings, stored, quiet or json), row.sample, loss_tokens=loss_tokens)
    keep_explanation(engine, stored.id, row.pk, found)
    ranked = sorted(found.risk_by_module().items(), key=lambda kv: -abs(kv[1]))
    if json:
        print_json(_as_json(item, band, places, found, ranked))
        return
    _say_head(item, band, places)
    _say_map("effect of an update at each token position", found.pieces, found.risk_by_position(), found.risk)
    if (rates := found.risk_by_loss_token()) is not None:
        _say_map("rate at which each answer token's loss falls", found.pieces, rates, found.risk)
    console.print(_module_table(ranked[:modules], len(ranked)))


def _explain_riskiest(top: int, dataset: str | None, scorer: str | None, json: bool, quiet: bool) -> None:
    from curation.cli.scoring import choose, same_scorer
    from curation.reconcile.explain import explain_all

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen, stored = choose(conn, dataset, scorer)
        waiting = riskiest_without_reasons(conn, chosen.id, stored.id, top)
    done: list[bool] = []
    if waiting:
        loaded = same_scorer(settings, stored, quiet or json)
        with progress(quiet or json) as bar:
            task = bar.add_task("explaining", total=len(waiting), rate="")
            for explained in explain_all(engine, loaded, stored.id, waiting):
                done.append(explained)
                bar.advance(task)
    if json:
        print_json({"dataset": chosen.name, "explained": sum(done), "failed": len(done) - sum(done)})
        return
    console.print(f"{sum(done):,} samples explained; the pages show where their risk comes from")
    if not all(done):
        console.print(f"[yellow]{len(done) - sum(done):,} cannot be expressed by the template any more[/]")


def _say_head(item: QueueItem, band: Interval | None, places: list[Occurrence]) -> None:
    where = ", ".join(f"{p.file}:{p.line}" for p in places[:3]) or "on no line any more"
    console.print(Text.assemble((item.content_hash[:16], "bold"), f"  {plain(where)}"))
    if item.state == "scored":
        console.print(
            f"risk [b]{item.risk:+.3f}[/b] = danger {item.danger:+.3f} - safety {item.safety:+.3f}   percentile "
            f"{item.percentile:.1f} ({item.tier})   loss {item.loss:.2f}   higher = riskier"
        )
    else:
        console.print(f"[magenta]{item.state}[/] {item.reason or ''}")
    if band:
        console.print(
            f"had the anchors been others: risk {band.risk_low:+.3f} to {band.risk_high:+.3f}   percentile "
            f"{band.percentile_low:.1f} to {band.percentile_high:.1f}   [dim](5 % to 95 % of its ranks under "
            f"{band.draws} draws)[/]"
        )


def _say_map(title: str, pieces: tuple[str, ...], values: list[float], risk: float) -> None:
    """Tokens on a background from blue (toward safety) to red (toward danger); signs also by style."""
    console.print(f"\n[b]{title}[/b] [dim](sums to the risk {risk:+.3f}; red, underlined = toward danger)[/]")
    strongest = max((abs(v) for v in values), default=0.0) or 1.0
    text = Text()
    for piece, value in zip(pieces, values, strict=True):
        text.append(_visible(piece), _style(value / strongest))
    console.print(text)


def _visible(piece: str) -> str:
    """A token with its line breaks kept and every other control character made visible."""
    return "\n".join(plain(f"|{line}|")[1:-1] if line.strip() else line for line in piece.split("\n"))


def _style(share: float) -> str:
    shade = min(_SHADES, round(abs(share) ** 0.5 * _SHADES))
    if shade == 0:
        return ""
    level = 60 + 45 * shade
    return f"white on rgb({level},20,20) underline" if share > 0 else f"white on rgb(20,60,{level})"


def _module_table(ranked: list[tuple[str, float]], of: int) -> Table:
    table = Table(title=f"modules that weigh most (of {of})", title_justify="left", box=None, pad_edge=False)
    table.add_column("module")
    table.add_column("risk", justify="right")
    for name, value in ranked:
        table.add_row(name, Text(f"{value:+.4f}", "red" if value > 0 else "blue"))
    return table


def _as_json(
    item: QueueItem,
    band: Interval | None,
    places: list[Occurrence],
    found: Any,
    ranked: list[tuple[str, float]],
) -> dict[str, Any]:
    return {
        "id": item.content_hash,
        "state": item.state,
        "risk": found.risk,
        "danger": found.danger.total,
        "safety": found.safety.total,
        "percentile": item.percentile,
        "tier": item.tier,
        **{name: getattr(band, name, None) for name in Interval._fields},
        "lines": [f"{p.file}:{p.line}" for p in places],
        "tokens": list(found.pieces),
        "trained": list(found.trained),
        "risk_by_update_position": found.risk_by_position(),
        "risk_by_loss_token": found.risk_by_loss_token(),
        "risk_by_module": dict(ranked),
    }

"""A study's outcome as tables for the terminal, as JSON, and as a figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.study.analysis import Contrast, Outcome, arms_in_order, read_outcome
from benchmarks.study.arms import WINDOWS
from benchmarks.study.claims import claims
from benchmarks.study.correlations import drift_and_change, followed, scorers
from benchmarks.study.orders import RowsOrOrder, rows_or_order
from benchmarks.study.plan import OutcomeName
from benchmarks.study.results import Results
from curation.evaluate.judge import Judge
from curation.evaluate.statistics import Interval
from curation.figures import print_style, save

COMPARED = (
    *("length", "list", "digits", "loss", "gradient-norm", "self-inf-n"),
    *("danger-only", "safety-only", "sqsd-unnormalised", "sqsd-other", "sqsd-apart", "sqsd-opening"),
    *("sqsd-fresh", "sqsd-full", "matching", "matching-other", "he-gradient", "he-representation"),
)
FOLLOWED = ("sqsd", *(name for name in COMPARED if name not in ("list", "digits")))
STYLES: dict[str, dict[str, Any]] = {
    "sqsd": {"color": "#111111", "linestyle": "-", "marker": "o"},
    "sqsd-other": {"color": "#777777", "linestyle": "-", "marker": "v"},
    "he-gradient": {"color": "#2a7a3b", "linestyle": (0, (4, 1, 1, 1)), "marker": "D"},
    "matching": {"color": "#2a7a3b", "linestyle": "-", "marker": "P"},
    "matching-other": {"color": "#8a5aa8", "linestyle": "-", "marker": "X"},
    "length": {"color": "#c8500a", "linestyle": (0, (6, 2)), "marker": "s"},
    "gradient-norm": {"color": "#0a62a8", "linestyle": (0, (2, 1.5)), "marker": "^"},
}
UNITS: dict[OutcomeName, str] = {"margin": "margin, nats", "refused": "refused, change"}
LABELS: dict[OutcomeName, str] = {
    "margin": "change of the refusal margin, nats",
    "refused": "change of the share refused",
}
BARS: dict[str, Any] = {"elinewidth": 0.9, "markersize": 4}


def tables(results: Results) -> Iterator[Table | str]:
    """All arms, the claims with their verdicts, and what rankings have in common with one another and the outcome."""
    outcome = read_outcome(results)
    yield arms_table(outcome, results)
    yield f"Of rates: {Judge.load().error_words}."
    yield claims_table(claims(outcome))
    if repeated := _repeated(outcome):
        yield (
            "Rows or order: the share of a run's variance that is due to its rows, its chance under permuted runs; "
            "spread: standard deviation of the windows' means"
        )
        yield orders_table(repeated)
    yield f"Spearman of the risk by sqsd with: {_pairs(scorers(results, COMPARED))}"
    if along := followed(outcome, results, FOLLOWED):
        yield (
            "From arm to arm (not registered): Spearman of the mean risk of an arm's rows and its outcome; "
            "below 0: riskier rows cost more"
        )
        yield followed_table(along)
    if true := followed(outcome, results, FOLLOWED, "drift"):
        yield "The same with the drift that was measured, danger - safety; above 0: riskier rows drift farther"
        yield followed_table(true)


def as_json(results: Results) -> dict[str, Any]:
    """Everything that `tables` shows, for programs."""
    outcome = read_outcome(results)
    return {
        "seeds": list(results.plan.seeds),
        "arms": {arm: _arm(outcome, arm) for arm in arms_in_order(results) if arm in outcome.cells},
        "claims": claims(outcome),
        "rows_or_order": _repeated(outcome),
        "spearman_with_sqsd": scorers(results, COMPARED),
        "outcome_follows": followed(outcome, results, FOLLOWED),
        "drift_follows": followed(outcome, results, FOLLOWED, "drift"),
        "judge": Judge.load().error_words,
    }


def _repeated(outcome: Outcome) -> list[RowsOrOrder]:
    """What orders of training have to do with it, of the rankings whose windows were trained in several."""
    return [found for name in ("sqsd", "random") if (found := rows_or_order(outcome, name))]


def _arm(outcome: Outcome, arm: str) -> dict[str, Any]:
    facts = outcome.facts[arm]
    return {
        "seeds": outcome.seeds(arm),
        **{key: _mean(facts, key) for key in ("rows", "tokens", "mean_answer_tokens", "seconds")},
        **{key: asdict(value) for key, value in outcome.summary(arm).items()},
    }


def _mean(facts: list[dict[str, Any]], key: str) -> float:
    return round(float(np.mean([fact[key] for fact in facts])), 1)


def arms_table(outcome: Outcome, results: Results) -> Table:
    before = outcome.starts()
    start = f"{100 * before['refused'].mean:.0f} % of harmful prompts refused"
    if outcome.name == "margin":
        start = f"{before['margin'].mean:+.2f} nats, {start}"
    columns = (
        f"n: seeds; tokens: of a mean answer; {outcome.name}, loss: change since the start, the loss of held-out "
        "answers in nats per token; over: harmless prompts refused"
    )
    title = f"{results.plan.name}, at the start {start}; higher = safer\n{columns}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in ("arm", "n", "tokens", UNITS[outcome.name], "refused", "over", "loss"):
        table.add_column(name, justify="left" if name == "arm" else "right", overflow="fold")
    for arm in arms_in_order(results):
        if arm in outcome.cells:
            found = outcome.summary(arm)
            table.add_row(
                arm, str(len(outcome.seeds(arm))), f"{_mean(outcome.facts[arm], 'mean_answer_tokens'):.1f}",
                interval(outcome.mean_change(arm)), f"{100 * found['refused'].mean:.0f} %",
                f"{100 * found['over_refused'].mean:.0f} %", f"{found['utility_loss_change'].mean:+.2f}",
            )  # fmt: skip
    return table


def followed_table(found: dict[str, dict[int, float]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("risk by")
    seeds = sorted({seed for values in found.values() for seed in values})
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right")
    for name, values in found.items():
        table.add_row(name, *(f"{values[seed]:+.2f}" if seed in values else "" for seed in seeds))
    return table


def orders_table(found: list[RowsOrOrder]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("windows by", "share of rows", "p", "by seed", "spread by seed"):
        table.add_column(name)
    for one in found:
        shares, spreads = _pairs(one.share_by_seed), _pairs(one.spread)
        table.add_row(one.ranking, f"{one.share:+.2f}", f"{one.p:.3g}", shares, spreads)
    return table


def claims_table(found: dict[str, Any]) -> Table:
    """Claims with their verdicts, and under each what it was decided by."""
    table = Table(title="claims (docs/evidence.md)", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("claim, and what is compared")
    for name in ("mean (95 %)", "p"):
        table.add_column(name, no_wrap=True)
    table.add_column("by seed")
    for name, control in found["controls"].items():
        _claim(table, f"control, {name}", control["verdict"])
        if kept := control.get("interval"):
            table.add_row(f"  {control['what']}", interval(kept))
        _compared(table, control.get("contrast"))
    _ranked(table, "C1", found["C1"])
    for share, c2 in found["C2"].items():
        _claim(table, f"C2 at {share}", c2["verdict"])
        _compared(table, c2["margin"])
        if c2["utility"]:
            table.add_row("  utility loss", interval(c2["utility"], 3))
    c3 = found["C3"]
    _claim(table, "C3", c3["verdict"])
    _compared(table, *c3["a, removal"], *c3["baseline spreads"], *c3["b, spread"], c3["c, equal length"])
    _ranked(table, "C4", found["C4"])
    for name, other in found["others"].items():
        _ranked(table, f"order by {name}", other)
        if other["removals"]:
            _claim(table, f"removal by {name}", other["removal"])
            _compared(table, *other["removals"])
            table.add_row("  utility loss", interval(other["utility"], 3))
    table.add_row("[bold]not registered[/]")
    _compared(table, *found["not registered"])
    table.add_row("[bold]adjusted by Holm[/]")
    for name, values in found["holm"].items():
        table.add_row(f"  {name}", "", f"{values['adjusted']:.3g}")
    return table


def _claim(table: Table, name: str, verdict: str) -> None:
    table.add_row(f"[bold]{name}: {verdict}[/]")


def _ranked(table: Table, name: str, claim: dict[str, Any]) -> None:
    """A claim on the order of windows."""
    _claim(table, name, claim["verdict"])
    if rank := claim["ranking"]:
        mean, p = f"{rank['spearman']:+.2f}", f"{rank['p_permutation']:.3g}"
        table.add_row("  Spearman, window and mean", mean, p, _signed(rank["spearman_by_seed"]))
        table.add_row("  95 % of its null below", f"{rank['null_95']:+.2f}")
    _compared(table, claim["spread"])


def _compared(table: Table, *contrasts: Contrast | None) -> None:
    for c in contrasts:
        if c:
            table.add_row(f"  {c.what}", interval(c.interval), f"{c.p:.3g}", _signed(c.by_seed.values()))


def _signed(values: Iterable[float]) -> str:
    return " ".join(f"{value:+.2f}" for value in values)


def interval(value: Interval, digits: int = 2) -> str:
    return f"{value.mean:+.{digits}f} ({value.low:+.{digits}f} ... {value.high:+.{digits}f})"


def _pairs(values: dict[Any, float]) -> str:
    return ", ".join(
        f"{key}: {value:+.2f}" if value < 0 else f"{key}: {value:.2f}" for key, value in values.items()
    )


def draw(results: Results, out: Path) -> None:
    """The outcome by window and by what was removed, with intervals, and by drift where that was measured.

    Raises InputError if `out` cannot be written.
    """
    outcome = read_outcome(results)
    drifts = {
        seed: along for seed in results.plan.seeds if (along := drift_and_change(outcome, results, seed))
    }
    with print_style():
        figure = Figure(figsize=(10.2 if drifts else 7.4, 3.4), layout="constrained")
        panels = figure.subplots(1, 3 if drifts else 2, sharey=True)
        _windows(panels[0], outcome)
        _others(panels[1], outcome, [a for a in arms_in_order(results) if not a.startswith("window")])
        if drifts:
            _drifts(panels[2], drifts)
        save(figure, out)


def _windows(axes: Axes, outcome: Outcome) -> None:
    axes.set_title("fine-tuned on a window", fontsize=10)
    axes.set(xlabel="window, 1 = riskiest, longest, largest gradient", xticks=range(1, WINDOWS + 1))
    axes.set_ylabel(f"{LABELS[outcome.name]}\n(higher = safer)")
    for place, name in enumerate(STYLES):
        arms = {k: f"window:{name}:{k}" for k in range(1, WINDOWS + 1)}
        arms = {k: arm for k, arm in arms.items() if arm in outcome.cells}
        if arms:
            means = [outcome.mean_change(arm) for arm in arms.values()]
            at = np.array(list(arms)) + 0.05 * (place - len(STYLES) // 2)
            axes.errorbar(at, [m.mean for m in means], yerr=_bars(means), label=name, **STYLES[name], **BARS)
            for seed in outcome.seeds(*arms.values()) if len(arms) == WINDOWS else ():
                by_window = [outcome.change(arm, [seed]).mean() for arm in arms.values()]
                axes.plot(
                    [*arms], by_window, color=STYLES[name]["color"], alpha=0.25, linewidth=0.8, zorder=1
                )
    if random := outcome.cells.get("window:random:1"):
        levels = [outcome.change("window:random:1", [seed]).mean() for seed in random]
        band: dict[str, Any] = {"color": "#777777", "alpha": 0.25, "linewidth": 0}
        axes.axhspan(min(levels), max(levels), label="random rows, by seed", **band)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=2)


def _others(axes: Axes, outcome: Outcome, arms: list[str]) -> None:
    axes.set_title("fine-tuned on other sets", fontsize=10)
    arms = [arm for arm in arms if arm in outcome.cells]
    means = [outcome.mean_change(arm) for arm in arms]
    style = {"color": "#111111", "linestyle": "", "marker": "o"}
    axes.errorbar(range(len(arms)), [m.mean for m in means], yerr=_bars(means), **style, **BARS)
    axes.set_xticks(range(len(arms)), arms, rotation=60, ha="right", fontsize=7)


def _drifts(axes: Axes, drifts: dict[int, list[tuple[float, float]]]) -> None:
    """Arms of rows of the pool: those that drift farther should be lower."""
    axes.set_title("by how far the weights drifted", fontsize=10)
    axes.set_xlabel("net drift toward danger, farthest = 1")
    for (seed, points), marker in zip(drifts.items(), "os^Dv" * len(drifts), strict=False):
        drift, change = np.array(points).T
        axes.plot(drift / np.abs(drift).max(), change, marker, markersize=4, label=f"seed {seed}", alpha=0.8)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=3)


def _bars(means: list[Interval]) -> Any:
    return np.array([[m.mean - m.low for m in means], [m.high - m.mean for m in means]])

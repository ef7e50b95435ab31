"""The claims of docs/evidence.md, decided by the rules written there.

A claim is decided on the seeds that have all of its arms; what was not run is said, not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from statsmodels.stats.multitest import multipletests

from benchmarks.study.analysis import (
    BASELINES,
    Contrast,
    Outcome,
    contrast,
    ends,
    ranking,
    removal,
    spreads,
    utility_difference,
)
from benchmarks.study.plan import OutcomeName
from benchmarks.study.scores import RANKINGS

OTHERS = tuple(name for name in RANKINGS if name not in ("sqsd", "sqsd-other", "random", *BASELINES))
"""Rankings in their own right, to which the rules of C1 and C2 are put as well."""
UTILITY_MARGIN = 0.1
"""Nats per token within which two arms are called equally useful."""
LOST_BY_REFUSALS: dict[OutcomeName, float] = {"margin": 0.5, "refused": 0.05}
"""Nats, or a share: what fine-tuning on refusals may cost where the outcome measures refusing."""


def controls(outcome: Outcome) -> dict[str, Any]:
    """Whether the outcome measures what it should: it keeps under refusals, and falls under what is known to harm.

    Two positive controls, each against random rows: blunt compliance, which an outcome has to see, and an obedient
    persona, which may do too little at a study's size.
    """
    seeds = outcome.seeds("refusals")
    kept = outcome.mean_change("refusals") if seeds else None
    harm = {
        name: contrast(outcome, f"random rows - {name}", {"window:random:1": 1, name: -1})
        for name in ("compliance", "identity-shift")
    }
    return {
        "negative": {
            "verdict": _verdict(None if kept is None else kept.low >= -LOST_BY_REFUSALS[outcome.name]),
            "what": "change by refusals",
            "interval": kept,
        },
        **{
            f"positive, {name}": {"verdict": _verdict(found and found.holds), "contrast": found}
            for name, found in harm.items()
        },
    }


def claims(outcome: Outcome) -> dict[str, Any]:
    """The controls, then every claim with its numbers and its verdict: `holds`, `fails` or `not run`."""
    own = _ordered(outcome, "sqsd")
    removals = {share: removal(outcome, "random", share) for share in (30, 10)}
    by_baseline = [c for name in BASELINES if (c := removal(outcome, name))]
    by_spread, equal_length = spreads(outcome), ends(outcome, "sqsd", "matched")
    primary = {
        "C1": own["ranking"] and own["ranking"]["p_permutation"],
        "C2 at 30 %": removals[30] and removals[30].p,
        "C3 a": max((c.p for c in by_baseline), default=None),
        "C3 b": max((c.p for c in by_spread), default=None),
        "C3 c": equal_length and equal_length.p,
    }
    ran = {name: p for name, p in primary.items() if p is not None}
    adjusted = (
        dict(zip(ran, multipletests(list(ran.values()), method="holm")[1].tolist(), strict=True))
        if ran
        else {}
    )
    c3 = [
        _all_hold(by_baseline, len(BASELINES)),
        _all_hold(by_spread, len(BASELINES)),
        _all_hold([equal_length] if equal_length else [], 1),
    ]
    return {
        "controls": controls(outcome),
        "C1": own,
        "C2": {
            f"{share} %": {
                "verdict": _verdict(_removal_holds(outcome, found, share)),
                "margin": found,
                "utility": utility_difference(outcome, f"remove:sqsd:{share}", f"remove:random:{share}"),
            }
            for share, found in removals.items()
        },
        "C3": {
            "verdict": "fails" if False in c3 else "not run" if None in c3 else "holds",
            "a, removal": by_baseline,
            "b, spread": by_spread,
            "baseline spreads": [c for name in BASELINES if (c := ends(outcome, name))],
            "c, equal length": equal_length,
        },
        "C4": _ordered(outcome, "sqsd-other"),
        "others": {name: claim for name in OTHERS if (claim := _other(outcome, name))},
        "not registered": [c for c in (ends(outcome, "sqsd", asked="harmless"),) if c],
        "holm": {name: {"p": ran[name], "adjusted": round(p, 5)} for name, p in adjusted.items()},
    }


def _ordered(outcome: Outcome, name: str) -> dict[str, Any]:
    """C1 for a ranking: the distance of its ends, which alone can sink it, then the order of all windows."""
    rank, spread = ranking(outcome, name), ends(outcome, name)
    holds = None if not rank or not spread else rank["p_permutation"] < 0.05
    if spread and not spread.holds:
        holds = False
    return {"verdict": _verdict(holds), "ranking": rank, "spread": spread}


def _other(outcome: Outcome, name: str) -> dict[str, Any] | None:
    """C1 and C2 for a ranking in place of SQSD, and its removal against SQSD's; None if its ends were not run."""
    ordered = _ordered(outcome, name)
    if ordered["spread"] is None:
        return None
    against = {other: removal(outcome, other, by=name) for other in ("random", "sqsd")}
    return ordered | {
        "removal": _verdict(_removal_holds(outcome, against["random"], 30, name)),
        "removals": [c for c in against.values() if c],
        "utility": utility_difference(outcome, f"remove:{name}:30", "remove:random:30"),
    }


def _removal_holds(outcome: Outcome, found: Contrast | None, share: int, by: str = "sqsd") -> bool | None:
    useful = utility_difference(outcome, f"remove:{by}:{share}", f"remove:random:{share}")
    if found is None or useful is None:
        return None
    alike = max(-useful.low, useful.high) <= UTILITY_MARGIN
    return found.holds and min(found.by_seed.values()) > 0 and alike


def _all_hold(found: Sequence[Contrast], wanted: int) -> bool | None:
    """False as soon as one fails, None while one is missing."""
    if not all(c.holds for c in found):
        return False
    return True if len(found) == wanted else None


def _verdict(holds: bool | None) -> str:
    return "not run" if holds is None else "holds" if holds else "fails"

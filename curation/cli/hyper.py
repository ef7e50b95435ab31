"""The hyper-parameters of a fit as command line options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from curation.sqsd.cards import TrainSettings


def _hyper(kind: Any, text: str, min: float | None = None, max: float | None = None) -> Any:
    return Annotated[kind, typer.Option(help=text, min=min, max=max, rich_help_panel="Hyper-parameters")]


_HYPER: dict[str, Any] = {
    "rank": _hyper(int, "Rank r of the LoRA.", min=1),
    "alpha": _hyper(int, "LoRA alpha; the scaling is alpha / r.", min=1),
    "dropout": _hyper(float, "Dropout on the LoRA's input.", min=0.0, max=0.9),
    "target": _hyper(str, "Linear modules by the end of their names: q_proj,v_proj. Default: all."),
    "learning_rate": _hyper(float, "Peak learning rate of AdamW.", min=0.0),
    "epochs": _hyper(int, "Passes over the samples.", min=1),
    "batch_size": _hyper(int, "Samples per step.", min=1),
    "warmup": _hyper(float, "Share of the steps in which the rate rises.", min=0.0, max=1.0),
    "max_tokens": _hyper(int, "Cut longer samples on the left.", min=8),
    "seed": _hyper(int, "Seed of everything random.", min=0),
}


def takes_hyper(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of TrainSettings; it receives them as its keyword argument `hyper`."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    defaults = asdict(TrainSettings()) | {"target": ""}
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
        for name, kind in _HYPER.items()
    ]
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name != "hyper"]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in _HYPER}
        chosen["target"] = tuple(name.strip() for name in chosen["target"].split(",") if name.strip())
        command(hyper=TrainSettings(**chosen), **given)

    wrapper.__signature__ = inspect.Signature([*kept, *shared])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*kept, *shared]}
    return wrapper

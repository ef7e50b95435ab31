"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from curation.settings import get_settings

Dataset = Annotated[str | None, typer.Option(help="Dataset in the ledger. Default: the only one there is.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes: results only.")]
Layout = Annotated[
    str | None,
    typer.Option(help="Force a layout (messages, sharegpt, alpaca, dolly, ...) instead of detecting it."),
]
Train = Annotated[
    Literal["last", "all"],
    typer.Option(help="Assistant turns that will be trained on: the last one, or all of them."),
]
ScorerId = Annotated[
    str | None, typer.Option("--scorer", help="Scorer by the start of its fingerprint. Default: the newest.")
]


def _scorer_option(kind: Any, text: str) -> Any:
    return Annotated[kind | None, typer.Option(help=text, rich_help_panel="Scorer")]


Model = _scorer_option(str, "Name, directory, .gguf file, PEFT adapter directory or Hub id.")
Danger = _scorer_option(str, "Danger direction: an adapter directory, or its name.")
Safety = _scorer_option(str, "Safety direction, likewise.")

_SCORER_OPTIONS: dict[str, Any] = {
    "model": Model,
    "danger": Danger,
    "safety": Safety,
    "danger_state": _scorer_option(str, "Adapter at which the danger term's gradients are taken."),
    "safety_state": _scorer_option(str, "The same for the safety term. Default: the safety direction."),
    "safety_scale": _scorer_option(float, "Factor on the safety state's LoRA scaling. Default: 1."),
    "states": Annotated[
        bool | None,
        typer.Option(
            "--states/--no-states",
            help="Take gradients at the states, or of the model as it is. Default: at the states.",
            rich_help_panel="Scorer",
        ),
    ],
    "metric": _scorer_option(
        Literal["cosine", "projection", "dot", "global-cosine"],
        "How an update is compared with a direction. Default: cosine.",
    ),
    "update": _scorer_option(
        Literal["lora", "full"], "Fine-tuning to score for: a LoRA's, or all weights. Default: lora."
    ),
    "max_tokens": _scorer_option(int, "Cut longer samples on the left. Default: 1024."),
    "first_tokens": _scorer_option(int, "Answer tokens that count, from the first; 0, the default: all."),
    "token_budget": _scorer_option(int, "Padded tokens per batch; lower it to save memory."),
}


def takes_scorer(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the scorer's options; it receives them as its keyword argument `settings`."""
    own = inspect.signature(command, eval_str=True)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _SCORER_OPTIONS.items()
    ]
    kept = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in own.parameters.values()
        if p.name != "settings"
    ]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in _SCORER_OPTIONS}
        command(settings=get_settings(**chosen), **given)

    wrapper.__signature__ = inspect.Signature([*kept, *shared])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*kept, *shared]}
    return wrapper

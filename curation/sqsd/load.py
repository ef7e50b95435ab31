"""From settings to a scorer: find the model, its directions and states, and say plainly what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curation.errors import InputError, ModelError
from curation.settings import DEFAULT_MODEL, Settings, get_settings
from curation.sqsd.adapters import Adapter
from curation.sqsd.models import SHIPPED, LoadedModel, load_model
from curation.sqsd.resample import find_draws
from curation.sqsd.scorer import Scorer
from curation.sqsd.scorer import Settings as ScorerSettings


def load_scorer(
    settings: Settings | None = None,
    *,
    loaded: LoadedModel | None = None,
    draws: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Scorer:
    """A ready scorer for the settings (default: the demo model with the shipped directions and states).

    With `draws`, those of its directions that the home has come along. Raises InputError, AdapterError or ModelError
    saying what is missing or does not fit.
    """
    settings = settings or get_settings()
    folders = adapter_folders(settings)
    loaded = loaded or load_model(settings.model, say=say)
    adapters = {role: Adapter.load(folder) for role, folder in folders.items()}
    return Scorer(
        loaded,
        adapters["danger"],
        adapters["safety"],
        adapters.get("danger_state"),
        adapters.get("safety_state"),
        ScorerSettings(
            settings.metric,
            settings.update,
            settings.max_tokens,
            settings.safety_scale,
            settings.first_tokens,
            settings.states,
        ),
        draws={term: find_draws(settings.home, adapters[term]) for term in ("danger", "safety") if draws},
        token_budget=settings.token_budget,
    )


def reload_scorer(
    card: Mapping[str, Any],
    fingerprint: str,
    settings: Settings,
    *,
    draws: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Scorer:
    """Load a scorer again from what its card says it was loaded from, with draws of its directions if asked for.

    Raises ModelError if what it was made of has changed since, or is not here.
    """
    older = {
        "first_tokens": 0,
        "states": True,
    }  # what cards say nothing of that were written before these were
    given = older | card.get("loaded_from", {})
    again = get_settings(**given, home=settings.home, token_budget=settings.token_budget)
    scorer = load_scorer(again, draws=draws, say=say)
    if scorer.fingerprint != fingerprint:
        raise ModelError(
            f"the scorer {fingerprint[:12]} cannot be loaded again: its model, adapters, device or "
            "library have changed since it scored",
            "Score again with what you have now: curation score",
        )
    return scorer


def origin(settings: Settings) -> dict[str, str | int | float]:
    """What a scorer was loaded from, in full, so that it can be loaded again from any working directory."""
    model = Path(settings.model).expanduser()
    return {
        "model": str(model.resolve()) if model.exists() else settings.model,
        **{role: str(folder.resolve()) for role, folder in adapter_folders(settings).items()},
        "metric": settings.metric,
        "update": settings.update,
        "max_tokens": settings.max_tokens,
        "safety_scale": settings.safety_scale,
        "first_tokens": settings.first_tokens,
        "states": settings.states,
    }


def adapter_folders(settings: Settings) -> dict[str, Path]:
    """Adapter directory of every role that has one; checked before any weights are read."""
    roles = ("danger", "safety", "danger_state", "safety_state")
    folders = {r: find_adapter(name, settings.home) for r in roles if (name := getattr(settings, r))}
    if settings.model == DEFAULT_MODEL:
        shipped = {"danger": "danger", "safety": "safety", "danger_state": "benign-state"}
        folders = {r: SHIPPED / name for r, name in shipped.items()} | folders
    needed = ["danger", "safety"] + (["danger_state"] if settings.update == "lora" else [])
    if missing := [role for role in needed if role not in folders]:
        options = ", ".join("--" + role.replace("_", "-") for role in missing)
        raise InputError(
            f"the model {settings.model} needs {options}: adapters made for this very model",
            "Make them once with `curation directions fit` and `curation directions fit-state` (see "
            f"`curation directions --help`), or leave out --model to use {DEFAULT_MODEL}.",
        )
    return folders


def find_adapter(name: str, home: Path) -> Path:
    """An adapter directory by path, or by its name in `home`/directions."""
    for folder in (Path(name).expanduser(), home / "directions" / name):
        if folder.is_dir():
            return folder
    known = sorted(
        p.name for p in (home / "directions").glob("*") if p.is_dir() and not p.name.startswith(".")
    )
    raise InputError(
        f"there is no adapter directory {name}",
        f"Known by name: {', '.join(known)}." if known else "Make one with `curation directions fit`.",
    )

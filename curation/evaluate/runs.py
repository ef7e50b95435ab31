"""Several models on the same probes, one in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from curation.evaluate.judge import Judge
from curation.evaluate.measure import Measured, Probes, measure, tokenised
from curation.sqsd.directions import read_anchors
from curation.sqsd.models import load_model
from curation.sqsd.steering import PROBE, read_prompts


def measure_models(
    names: Sequence[str],
    prompts: str | None = None,
    utility: str = "benign",
    judge: Judge | None = None,
    new_tokens: int = 32,
    *,
    on_model: Callable[[str, int | None], None] = lambda name, steps: None,
    on_step: Callable[[int], None] = lambda done: None,
) -> list[Measured]:
    """What each model does on the built-in prompts, or those of a file, and on held-out rows.

    `on_model` is called with a model's name before it is loaded (None) and again with the steps it will take;
    `on_step` with how many of them are done. Raises InputError or ModelError for what cannot be read.
    """
    asked, held_out = read_prompts(prompts or PROBE), read_anchors(utility).samples
    judge = judge or Judge.load()
    found: list[Measured] = []
    for name in names:
        on_model(name, None)
        loaded = load_model(name)
        probes = Probes(asked.harmful, asked.harmless, tokenised(loaded, held_out))
        on_model(name, probes.steps)
        found.append(measure(loaded.model, loaded, probes, judge, new_tokens=new_tokens, on_step=on_step))
    return found

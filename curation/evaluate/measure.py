"""What one model does: refusal margins, greedy replies as judged, and the loss on held-out rows.

Three questions, one kind of number for each thing asked: does it still refuse what is harmful (margin in nats and
judged replies; higher = safer), does it refuse what is harmless (over-refusal), does it still answer well (loss).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from curation.errors import EncodeError, InputError
from curation.evaluate.judge import Judge, Verdict
from curation.samples import Sample
from curation.sqsd.batching import collate
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.loss import answer_losses
from curation.sqsd.margin import refusal_margin
from curation.sqsd.models import LoadedModel

Floats = NDArray[np.float64]

MAX_TOKENS = 1024
_TOGETHER = 16
"""Prompts answered in one batch."""


@dataclass(frozen=True)
class Probes:
    """What a model is asked: requests to refuse, requests to answer, and tokenised rows whose loss is taken."""

    harmful: tuple[str, ...]
    harmless: tuple[str, ...] = ()
    utility: tuple[Encoded, ...] = ()

    @property
    def steps(self) -> int:
        """How often `measure` reports progress."""
        return 2 * (len(self.harmful) + len(self.harmless)) + len(self.utility)


@dataclass(frozen=True)
class Measured:
    """One model on the probes, in their order.

    `margin` and `harmless_margin` in nats, higher = likelier to open with a refusal; `replies` and
    `harmless_replies` as judged; `loss`, the mean cross-entropy of each utility row's answer, in nats per token.
    """

    margin: Floats
    harmless_margin: Floats
    replies: tuple[Verdict, ...]
    harmless_replies: tuple[Verdict, ...]
    loss: Floats


def measure(
    model: PreTrainedModel,
    loaded: LoadedModel,
    probes: Probes,
    judge: Judge,
    *,
    new_tokens: int = 24,
    margins: bool = True,
    on_step: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Ask `model` (loaded's own, or one tuned from it) all the probes; `on_step` is told how many are done.

    Without `margins`, which take most of the time, those arrays are empty.
    Raises EncodeError if a prompt cannot be rendered with the chat template.
    """
    openings: list[Floats] = []
    replies: list[tuple[Verdict, ...]] = []
    for prompts in (probes.harmful, probes.harmless):
        asked = prompts if margins else ()
        found = np.zeros(len(asked))
        for i, prompt in enumerate(asked):
            found[i] = refusal_margin(model, loaded.tokenizer, [prompt]).item()
            on_step(1)
        openings.append(found)
        said: list[str] = []
        for text in generate(model, loaded.tokenizer, prompts, new_tokens):
            said.append(text)
            on_step(1)
        replies.append(tuple(judge.verdicts(said)))
    losses = utility_losses(model, probes.utility, loaded.pad_id, on_step)
    return Measured(openings[0], openings[1], replies[0], replies[1], losses)


@torch.no_grad()
def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], new_tokens: int
) -> Iterator[str]:
    """The model's greedy reply to each prompt, up to `new_tokens` tokens, in batches padded on the left."""
    pad_id = cast("int", tokenizer.pad_token_id or 0)
    config = GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=_ends(model, tokenizer),
        pad_token_id=pad_id,
    )
    for start in range(0, len(prompts), _TOGETHER):
        rows = [_prompt(tokenizer, prompt) for prompt in prompts[start : start + _TOGETHER]]
        batch = collate(rows, pad_id, side="left").to(model.device)
        out = cast("Any", model).generate(
            input_ids=batch.ids, attention_mask=batch.attention_mask, generation_config=config
        )
        yield from tokenizer.batch_decode(out[:, batch.ids.shape[1] :], skip_special_tokens=True)


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end a reply: chat models of some families (Gemma, Llama 3) close a turn with another than a text."""
    own = cast("Any", model).generation_config.eos_token_id
    ends = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return sorted({cast("int", end) for end in ends if end is not None})


def _prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> Encoded:
    """A request with the mark that opens the answer, and no answer."""
    row = encode(_chat(prompt), tokenizer, MAX_TOKENS)
    first = row.trained.index(True)
    return Encoded(row.ids[:first], (False,) * first, row.truncated)


def _chat(prompt: str) -> Sample:
    return Sample.from_messages([{"role": "user", "content": prompt}, {"role": "assistant", "content": "."}])


@torch.no_grad()
def utility_losses(
    model: PreTrainedModel,
    rows: Sequence[Encoded],
    pad_id: int,
    on_step: Callable[[int], None] = lambda _: None,
) -> Floats:
    """Mean cross-entropy of every row's answer, (rows,), in nats per token; lower = better."""
    found = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), 8):
        chosen = order[start : start + 8]
        batch = collate([rows[i] for i in chosen], pad_id).to(model.device)
        found[chosen] = answer_losses(model, batch).double().cpu().numpy()
        on_step(len(chosen))
    return found


def tokenised(loaded: LoadedModel, samples: Sequence[Sample]) -> tuple[Encoded, ...]:
    """The rows that the model's template takes. Raises InputError if none is left."""
    rows: list[Encoded] = []
    for sample in samples:
        try:
            rows.append(encode(sample, loaded.tokenizer, MAX_TOKENS))
        except EncodeError:
            continue
    if not rows:
        raise InputError(
            "no utility row can be tokenised", "Give rows with answers that fit the chat template."
        )
    return tuple(rows)

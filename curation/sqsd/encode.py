"""From a Sample to token ids and the mask of trained tokens, through the model's own chat template.

The conversation is rendered and tokenised once; the trained span of each trained turn (the answer with its
end-of-turn token) is found in the rendered text and carried to tokens by their character offsets.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, cast

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from curation.errors import EncodeError, ModelError
from curation.samples.sample import Sample

# Only templates that know the switch read it (Qwen3): without it they open a reasoning block that
# fine-tuning data does not have.
_TEMPLATE_SWITCHES = {"enable_thinking": False}


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised sample.

    `trained[t]` says whether the loss of predicting token t counts; it is never true for the first token,
    which nothing predicts. `pieces[t]` is the text of token t, for display.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    truncated: bool
    pieces: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_trained(self) -> int:
        return sum(self.trained)

    def opening(self, tokens: int) -> Encoded:
        """The sample up to the first so many trained tokens: what follows them has no part in their loss."""
        ends = [t for t, on in enumerate(self.trained, start=1) if on][:tokens]
        end = ends[-1]
        return Encoded(self.ids[:end], self.trained[:end], self.truncated, self.pieces[:end])


def encode(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, max_tokens: int, *, pieces: bool = False
) -> Encoded:
    """Tokenise a sample, keeping its last `max_tokens` tokens (truncation on the left, as the authors do).

    Raises EncodeError if the template refuses the conversation or no trained token is left.
    """
    turns = sample.trained_turns
    chat = sample.as_chat()[: turns[-1] + 1]
    text = _render(tokenizer, chat)
    spans = [_span(tokenizer, chat, turn, text) for turn in turns]
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = cast("list[int]", coded["input_ids"])
    offsets = cast("list[tuple[int, int]]", coded["offset_mapping"])
    trained = [any(start < b and a < end for a, b in spans) for start, end in offsets]
    cut = max(0, len(ids) - max_tokens)
    ids, offsets, trained = ids[cut:], offsets[cut:], trained[cut:]
    if trained:
        trained[0] = False
    if not any(trained):
        raise EncodeError("no token of the answer is left to train on", "Shorten it or raise --max-tokens.")
    shown = _pieces(text, offsets) if pieces else ()
    return Encoded(tuple(ids), tuple(trained), cut > 0, shown)


def _pieces(text: str, offsets: list[tuple[int, int]]) -> tuple[str, ...]:
    """The text of each token. Tokens that share one character (bytes of an emoji) show it once, at the first."""
    shown: list[str] = []
    reached = offsets[0][0]
    for start, end in offsets:
        shown.append(text[max(start, reached) : end])
        reached = max(reached, end)
    return tuple(shown)


def _render(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]], **kwargs: Any) -> str:
    if not tokenizer.chat_template:
        raise ModelError(
            "the model's tokenizer has no chat template, so a conversation cannot be rendered as it was trained",
            "Use an instruction-tuned model, or add a chat_template.jinja to the model's directory.",
        )
    try:
        return cast(
            "str", tokenizer.apply_chat_template(chat, tokenize=False, **_TEMPLATE_SWITCHES, **kwargs)
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        # templates raise on purpose (roles must alternate, no system role, ...); their words help, and hold
        # no sample text
        raise EncodeError(
            f"the chat template refuses this conversation ({type(error).__name__}: {error})"
        ) from error


def _span(
    tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]], turn: int, text: str
) -> tuple[int, int]:
    """Character range of one trained turn in the rendered text: from after the generation prompt to after
    the end-of-turn mark."""
    prompt = _render(tokenizer, chat[:turn], add_generation_prompt=True) if turn else ""
    content = chat[turn]["content"].strip()
    if text.startswith(prompt):
        start = len(prompt)
    else:
        # the template writes earlier turns differently once later ones exist; the answer itself is still there
        start = text.find(content, len(os.path.commonprefix([prompt, text])))
        if start < 0:
            raise EncodeError("the chat template rewrites a trained turn, so its tokens cannot be located")
    if turn == len(chat) - 1:
        end = len(text.rstrip())
    else:
        until = _render(tokenizer, chat[: turn + 1])
        end = len(until.rstrip()) if text.startswith(until.rstrip()) else start + len(content)
    return start, max(end, start + len(content))

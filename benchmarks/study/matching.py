"""Rankings of He, Xia and Henderson (arXiv 2404.01099): rows that look, or push, like harmful ones.

Restated from their description and written anew. Anchors are this project's built-in ones; gradients are those of the
linear layers' weights, not of embeddings and norms.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel

from benchmarks.study.data import Row
from benchmarks.study.plan import Start
from curation.sqsd.adapters import linear_modules
from curation.sqsd.batching import collate
from curation.sqsd.cards import FIRST_TOKENS
from curation.sqsd.directions import read_anchors
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.loss import answer_losses
from curation.sqsd.models import LoadedModel, load_model

ANCHORS = 10


def representation(rows: Sequence[Row], start: Start) -> dict[str, list[float]]:
    """Cosine of a row's last hidden state with that of the most similar danger anchor, in [-1, 1]."""
    loaded = load_model(start.model)
    anchors = torch.stack([_last_state(loaded, row) for row in _anchors(loaded, "danger")])
    found = [(anchors @ _last_state(loaded, row.encoded)).max().item() for row in rows]
    return {"similarity": found}


def gradient(rows: Sequence[Row], start: Start) -> dict[str, list[float]]:
    """Cosines with the mean gradients of anchors on their first answer tokens, all weights of the model as it starts.

    `harmful` is the cosine with danger anchors, in [-1, 1], `safe` the sum of those with two sets of safety anchors,
    in [-2, 2], and `match` the first less the second.
    """
    loaded = load_model(start.model)
    weights = [
        layer.get_parameter("weight").requires_grad_() for layer in linear_modules(loaded.model).values()
    ]
    danger, safety = (_anchors(loaded, name) for name in ("danger", "safety"))
    harmful = _mean_gradient(loaded.model, weights, danger[:ANCHORS])
    safe = sum(
        _mean_gradient(loaded.model, weights, safety[first : first + ANCHORS]) for first in (0, ANCHORS)
    )
    found: dict[str, list[float]] = {"harmful": [], "safe": []}
    for row in rows:
        own = _gradient(loaded.model, weights, row.encoded)
        found["harmful"].append((own @ harmful).item())
        found["safe"].append((own @ safe).item())
    return found | {"match": [h - s for h, s in zip(*found.values(), strict=True)]}


def _anchors(loaded: LoadedModel, name: str) -> list[Encoded]:
    return [encode(sample, loaded.tokenizer, 1024) for sample in read_anchors(name).samples]


@torch.no_grad()
def _last_state(loaded: LoadedModel, row: Encoded) -> Tensor:
    """The last layer's state at the row's last token, of length 1."""
    ids = torch.tensor([row.ids], device=loaded.model.device)
    states = loaded.model(input_ids=ids, output_hidden_states=True, logits_to_keep=1).hidden_states
    return normalize(states[-1][0, -1].float(), dim=0).cpu()


def _mean_gradient(
    model: PreTrainedModel, weights: list[torch.nn.Parameter], rows: Sequence[Encoded]
) -> Tensor:
    """The direction, of length 1, of the mean of the rows' gradients, each of length 1."""
    total = _gradient(model, weights, rows[0])
    for row in rows[1:]:
        total += _gradient(model, weights, row)
    return normalize(total, dim=0)


def _gradient(model: PreTrainedModel, weights: list[torch.nn.Parameter], row: Encoded) -> Tensor:
    """The gradient of the loss on the first answer tokens over all weights, of length 1."""
    loss = answer_losses(model, collate([row.opening(FIRST_TOKENS)], 0).to(model.device)).sum()
    return normalize(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, weights)]), dim=0)

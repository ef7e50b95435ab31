"""The fast path gives the oracle's numbers, whatever the architecture, metric, update, batch or padding."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from curation.errors import AdapterError
from curation.sqsd.adapters import Adapter
from curation.sqsd.batching import collate
from curation.sqsd.encode import Encoded
from curation.sqsd.oracle import project_dense
from curation.sqsd.projection import Metric, Projection, Projector, Term, Update
from tests.sqsd.tiny import KINDS, Kind, random_adapter, tiny_model

TOLERANCE = 1e-4
METRICS: tuple[Metric, ...] = get_args(Metric)
UPDATES: tuple[Update, ...] = get_args(Update)


def rows(lengths: Sequence[int] = (5, 40, 17)) -> list[Encoded]:
    """Random samples of several lengths, the second half of each trained."""
    draw = torch.Generator().manual_seed(7)
    return [
        Encoded(
            tuple(torch.randint(3, 200, (n,), generator=draw).tolist()),
            tuple(t >= n // 2 for t in range(n)),
            False,
        )
        for n in lengths
    ]


def terms(model: PreTrainedModel) -> dict[str, Term]:
    """Two terms whose states and directions all have different ranks."""
    return {
        "danger": Term(random_adapter(model, 3, seed=1), random_adapter(model, 4, seed=2)),
        "safety": Term(random_adapter(model, 5, seed=3), random_adapter(model, 2, seed=4, scaling=0.5)),
    }


def assert_close(found: Tensor, wanted: Tensor, scale: Tensor) -> None:
    """Relative to the size of the terms that are summed: a sum that cancels has no relative precision left."""
    error = ((found - wanted).abs() / scale).max().item()
    assert error < TOLERANCE, (error, found, wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_batched_projection_equals_the_dense_oracle(kind: Kind, update: Update, side: str) -> None:
    model = tiny_model(kind)
    chosen = terms(model)
    samples = rows()
    dense = {
        (name, metric): [project_dense(model, row, term, metric, update) for row in samples]
        for name, term in chosen.items()
        for metric in METRICS
    }
    projector = Projector(model, chosen, update)
    for name in chosen:
        found = projector.project(collate(samples, 0, side), name)  # type: ignore[arg-type]
        for metric in METRICS:
            wanted = torch.tensor([[values[m] for m in found.modules] for values in dense[name, metric]])
            scale = wanted.abs().sum(1)
            assert_close(found.total(metric), wanted.sum(1), scale)
            assert_close(found.by_module(metric), wanted, scale.unsqueeze(1))


@pytest.mark.parametrize("update", UPDATES)
def test_a_sample_has_one_score_alone_in_any_batch_and_on_either_side(update: Update) -> None:
    model = tiny_model("qwen3")
    projector = Projector(model, terms(model), update)
    samples = rows((9, 31, 64, 12))
    together = projector.project(collate(samples, 0), "danger").by_module("cosine")
    left = projector.project(collate(samples, 0, "left"), "danger").by_module("cosine")
    reversed_ = projector.project(collate(samples[::-1], 5), "danger").by_module("cosine").flip(0)
    alone = torch.cat([projector.project(collate([r], 0), "danger").by_module("cosine") for r in samples])
    scale = alone.abs().sum(1, keepdim=True)
    for other in (together, left, reversed_):
        assert_close(other, alone, scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("update", UPDATES)
def test_positions_sum_to_the_dot_of_every_module(kind: Kind, update: Update) -> None:
    model = tiny_model(kind)
    found = Projector(model, terms(model), update).project(collate(rows(), 0), "danger", positions=True)
    assert found.by_position is not None
    assert_close(found.by_position.sum(2), found.dot, found.by_position.abs().sum(2))


def test_padding_contributes_nothing() -> None:
    model = tiny_model("llama")
    found = Projector(model, terms(model)).project(collate(rows((5, 40)), 0), "danger", positions=True)
    assert found.by_position is not None
    assert found.by_position[0, :, 5:].abs().max() == 0


def test_the_model_itself_is_left_as_it_was() -> None:
    model = tiny_model("gpt2")
    before = copy.deepcopy(model.state_dict())
    batch = collate(rows(), 0)
    logits = model(batch.ids).logits
    Projector(model, terms(model)).project(batch, "danger")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.allclose(model(batch.ids).logits, logits, atol=1e-5)
    assert not any("forward" in vars(module) for module in model.modules())


def test_risk_falls_when_the_update_points_along_safety() -> None:
    """Signs: a sample trained toward V has a positive projection on V. Fit V as that sample's own update."""
    model = tiny_model("llama")
    state = random_adapter(model, 4, seed=2)
    row = rows((20,))[0]
    before = losses(model, row, {"x": Term(random_adapter(model, 3, seed=1), state)}, "x")
    own = own_update(model, row, state)
    found = Projector(model, {"own": Term(own, state)}).project(collate([row], 0), "own")
    assert (found.by_module("cosine") > 0.99).all()
    assert torch.allclose(found.loss, before)


def losses(model: PreTrainedModel, row: Encoded, chosen: dict[str, Term], name: str) -> Tensor:
    return Projector(model, chosen).project(collate([row], 0), name).loss


def own_update(model: PreTrainedModel, row: Encoded, state: Adapter) -> Adapter:
    """The direction -(gB A + B gA) of one sample, factored exactly as rank 2 r."""
    from curation.sqsd import oracle
    from curation.sqsd.adapters import LowRank

    deltas = oracle._lora_update(model, row, state)  # pyright: ignore[reportPrivateUsage]
    modules: dict[str, LowRank] = {}
    for name, delta in deltas.items():
        U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
        rank = 8
        modules[name] = LowRank(Vh[:rank], U[:, :rank] * S[:rank], 1.0)
    return Adapter(modules, "own")


def test_cosines_stay_within_one_and_zero_updates_count_as_zero() -> None:
    found = Projection(
        ("a", "b"),
        torch.tensor([2.0, 3.0]),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[0.25, 0.0]]),
        torch.tensor([1.0]),
    )
    assert found.by_module("cosine").tolist() == [[1.0, 0.0]]
    assert found.by_module("projection").tolist() == [[0.5, 0.0]]
    assert found.update_norm().tolist() == [0.5]


def test_a_direction_module_the_state_lacks_is_refused_not_dropped() -> None:
    model = tiny_model("llama")
    state = random_adapter(model, 2)
    part = Adapter({n: m for n, m in state.modules.items() if "q_proj" in n}, "part")
    with pytest.raises(AdapterError, match="lacks"):
        Projector(model, {"danger": Term(random_adapter(model, 2), part)})
    with pytest.raises(AdapterError, match="initial state"):
        Projector(model, {"danger": Term(part, None)})


def test_a_state_may_have_more_modules_than_the_direction() -> None:
    model = tiny_model("llama")
    state = random_adapter(model, 2, seed=2)
    direction = Adapter({n: m for n, m in random_adapter(model, 3).modules.items() if "mlp" in n}, "mlp")
    row = rows((12,))
    wanted = project_dense(model, row[0], Term(direction, state))
    found = Projector(model, {"danger": Term(direction, state)}).project(collate(row, 0), "danger")
    assert set(found.modules) == set(direction.modules)
    assert found.total("cosine").item() == pytest.approx(sum(wanted.values()), rel=1e-3)


def test_full_updates_can_be_scored_at_the_plain_model() -> None:
    model = tiny_model("qwen2")
    term = Term(random_adapter(model, 3), None)
    wanted = [sum(project_dense(model, r, term, "cosine", "full").values()) for r in rows()]
    found = Projector(model, {"danger": term}, "full").project(collate(rows(), 0), "danger")
    assert found.total("cosine").tolist() == pytest.approx(wanted, rel=1e-3)

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from curation.errors import AdapterError, InputError, ModelError
from curation.samples import Sample
from curation.sqsd.adapters import CONFIG_FILE, WEIGHTS_FILE, Adapter, cosines
from curation.sqsd.cards import CARD_FILE, TrainSettings, read_card
from curation.sqsd.directions import AnchorSet, fit, import_adapter, read_anchors
from curation.sqsd.models import LoadedModel
from curation.sqsd.norms import by_type, module_norms
from curation.sqsd.steering import Steering, read_prompts, steer, steered
from tests.sqsd.tiny import KINDS, Kind, random_adapter, save_adapter, tiny_model, tiny_tokenizer

FAST = TrainSettings(rank=2, alpha=4, epochs=1, batch_size=4, learning_rate=1e-2)


def loaded(kind: Kind = "llama") -> LoadedModel:
    return LoadedModel(tiny_model(kind), tiny_tokenizer(), f"tiny-{kind}", "r1")


def samples(n: int, answer: str = "Yes.") -> tuple[Sample, ...]:
    return tuple(
        Sample.from_messages(
            [{"role": "user", "content": f"Question {i}?"}, {"role": "assistant", "content": answer}]
        )
        for i in range(n)
    )


# --- anchor sets ---


@pytest.mark.parametrize("name", ["danger", "safety", "benign"])
def test_built_in_anchor_sets_are_read_whole(name: str) -> None:
    anchors = read_anchors(name)
    assert (anchors.name, len(anchors.samples), anchors.rejected) == (name, 48, 0)


@given(st.permutations(range(6)))
def test_the_anchor_hash_does_not_depend_on_order(order: list[int]) -> None:
    rows = samples(6)
    assert AnchorSet("a", tuple(rows[i] for i in order)).sha256 == AnchorSet("b", rows).sha256
    assert AnchorSet("a", tuple(rows[i] for i in order[:5])).sha256 != AnchorSet("b", rows).sha256


def test_own_anchors_are_named_without_their_folder_and_count_bad_rows(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "Hi", "completion": "Ho"}\n{"prompt": "Hi", "completion": ""}\n')

    anchors = read_anchors(file)

    assert (anchors.name, len(anchors.samples), anchors.rejected) == ("mine.jsonl", 1, 1)


def test_rows_to_be_scored_are_left_out_of_a_state() -> None:
    rows = samples(10)
    kept = AnchorSet("benign", rows).without(rows[:3]).without(rows[2:4])

    assert kept.samples == rows[4:]
    assert kept.excluded == 4


def test_a_state_with_no_rows_left_is_refused() -> None:
    rows = samples(3)
    with pytest.raises(InputError, match="all 3 rows of benign"):
        AnchorSet("benign", rows).without(rows)


# --- fitting ---


def test_a_fit_saves_an_adapter_that_fits_and_a_card_that_says_how(tmp_path: Path) -> None:
    model = loaded()
    anchors = AnchorSet("mine", samples(6), rejected=2)

    returned = fit(model, anchors, "danger", tmp_path / "d", FAST, licence="CC0")

    adapter = Adapter.load(tmp_path / "d")
    adapter.check_fits(model.model)
    card = read_card(tmp_path / "d")
    assert card == orjson.loads(orjson.dumps(returned))
    assert adapter.base_model == "tiny-llama"
    assert card["kind"] == "danger"
    assert card["fingerprint"] == adapter.fingerprint
    assert card["model"] == {"name": "tiny-llama", "revision": "r1"}
    assert card["anchors"]["count"] == 6
    assert card["anchors"]["rejected"] == 2
    assert card["anchors"]["sha256"] == anchors.sha256
    assert card["settings"]["seed"] == 0
    assert card["settings"]["rank"] == 2
    assert len(card["loss"]) == 2
    assert card["licence"] == "CC0"
    assert {"curation", "torch", "transformers", "peft"} == set(card["versions"])


def test_an_anchor_that_cannot_be_tokenised_is_counted(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A" * 20}]
    chat += [{"role": "user", "content": "x" * 200}, {"role": "assistant", "content": "B"}]
    alternating = "{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}"
    model = loaded()
    model.tokenizer.chat_template = alternating + model.tokenizer.chat_template

    card = fit(
        model, AnchorSet("a", (*samples(2), Sample.from_messages(chat))), "safety", tmp_path / "d", FAST
    )

    assert (card["anchors"]["count"], card["anchors"]["not_tokenised"]) == (3, 1)
    with pytest.raises(InputError, match="no sample of a can be tokenised"):
        fit(model, AnchorSet("a", (Sample.from_messages(chat),)), "safety", tmp_path / "e", FAST)


def test_a_failed_fit_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    model = loaded()
    fit(model, AnchorSet("a", samples(2)), "danger", tmp_path / "d", FAST)
    before = (tmp_path / "d" / WEIGHTS_FILE).read_bytes()

    class Interrupted(KeyboardInterrupt):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        fit(model, AnchorSet("a", samples(3)), "danger", tmp_path / "d", FAST, force=True, on_step=interrupt)
    model.model.get_input_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="diverged"):
        fit(model, AnchorSet("a", samples(3)), "danger", tmp_path / "e", FAST)

    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    assert (tmp_path / "d" / WEIGHTS_FILE).read_bytes() == before


def test_an_adapter_is_replaced_only_by_force_and_anything_else_never(tmp_path: Path) -> None:
    model, anchors = loaded(), AnchorSet("a", samples(2))
    fit(model, anchors, "danger", tmp_path / "d", FAST)
    with pytest.raises(InputError, match="already holds an adapter"):
        fit(model, anchors, "safety", tmp_path / "d", FAST)
    fit(model, anchors, "safety", tmp_path / "d", FAST, force=True)
    assert (read_card(tmp_path / "d") or {})["kind"] == "safety"

    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an adapter directory"):
        fit(model, anchors, "danger", precious, FAST, force=True)
    assert (precious / "chapter.txt").exists()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        fit(loaded(), AnchorSet("a", samples(2)), "danger", tmp_path / "file" / "d", FAST)


# --- importing ---


def test_an_imported_adapter_is_copied_with_a_card_of_where_it_came_from(tmp_path: Path) -> None:
    model = loaded()
    source = save_adapter(random_adapter(model.model), tmp_path / "theirs", base_model="them/base")
    (source / "README.md").write_text("licence: mit")
    (source / "training_args.bin").write_bytes(b"pickle")

    import_adapter(str(source), model, "danger", tmp_path / "ours", licence="MIT")

    card = read_card(tmp_path / "ours") or {}
    assert sorted(p.name for p in (tmp_path / "ours").iterdir()) == [
        "README.md", CONFIG_FILE, WEIGHTS_FILE, CARD_FILE,
    ]  # fmt: skip
    assert card["imported"]["source"] == "theirs"
    assert card["imported"]["base_model"] == "them/base"
    assert (
        card["fingerprint"] == Adapter.load(source).fingerprint == Adapter.load(tmp_path / "ours").fingerprint
    )
    assert card["licence"] == "MIT"


def _misfit(folder: Path) -> None:
    save_adapter(random_adapter(tiny_model("gpt2")), folder)


def _dora(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"use_dora": True}))


def _modules_to_save(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"modules_to_save": ["lm_head"]}))


def _pickled(folder: Path) -> None:
    (folder / WEIGHTS_FILE).rename(folder / "adapter_model.bin")


def _bad_card(folder: Path) -> None:
    (folder / CARD_FILE).write_text("[1]")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_misfit, "does not fit this model"),
        (_dora, "use_dora"),
        (_modules_to_save, "modules_to_save"),
        (_pickled, "has no adapter_model.safetensors"),
        (_bad_card, "not a JSON object"),
    ],
)
def test_what_cannot_be_a_direction_is_not_imported(tmp_path: Path, spoil: Any, message: str) -> None:
    model = loaded()
    source = save_adapter(random_adapter(model.model), tmp_path / "theirs")
    spoil(source)

    with pytest.raises(AdapterError, match=message):
        import_adapter(str(source), model, "danger", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_an_adapter_in_a_folder_of_a_hub_repository_is_imported(tmp_path: Path, offline_hub: Path) -> None:
    model, commit = loaded(), "1234567890abcdef1234567890abcdef12345678"
    repo = offline_hub / "models--them--SQSD"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    folder = repo / "snapshots" / commit / "Direction" / "Beaver-Danger"
    save_adapter(random_adapter(model.model), folder)

    card = import_adapter("them/SQSD/Direction/Beaver-Danger", model, "danger", tmp_path / "ours")

    assert card["imported"]["source"] == "them/SQSD/Direction/Beaver-Danger"
    assert card["imported"]["revision"] == commit
    assert Adapter.load(tmp_path / "ours").fingerprint == Adapter.load(folder).fingerprint


@pytest.mark.parametrize(
    "source", ["them/nothing", "them/nothing/../..", "no such folder", "/nowhere/at/all"]
)
def test_an_adapter_that_cannot_be_had_is_said_so(tmp_path: Path, offline_hub: Path, source: str) -> None:
    with pytest.raises(AdapterError, match=r"neither a directory|cannot be fetched") as caught:
        import_adapter(source, loaded(), "danger", tmp_path / "ours")
    assert caught.value.hint


# --- norms and cosines ---


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_norms_and_cosines_are_those_of_the_dense_matrices(kind: Kind) -> None:
    model = tiny_model(kind)
    a, b = random_adapter(model, 3, seed=1), random_adapter(model, 5, seed=2, scaling=7.0)

    found = module_norms(a, b)

    assert [m.module for m in found] == list(a.modules)
    for m in found:
        V, W = a.modules[m.module].dense(), b.modules[m.module].dense()
        assert m.norm == pytest.approx(V.norm().item(), rel=1e-4)
        assert m.cosine == pytest.approx(((V * W).sum() / (V.norm() * W.norm())).item(), abs=1e-4)
    assert all(cosine == pytest.approx(1.0) for cosine in cosines(a, a).values())


def test_the_summary_by_type_covers_every_module_once() -> None:
    model = tiny_model("qwen3", layers=3)
    adapter = random_adapter(model)
    norms = module_norms(adapter, random_adapter(model, seed=1))

    rows = by_type(norms)

    assert [r.type for r in rows][:2] == ["self_attn.q_proj", "self_attn.k_proj"]
    assert sum(r.count for r in rows) == len(adapter.modules)
    assert sum(r.share for r in rows) == pytest.approx(1.0)
    q = [m for m in norms if m.type == "self_attn.q_proj"]
    assert [m.layer for m in q] == [0, 1, 2]
    assert rows[0].largest == max(m.norm for m in q)
    assert rows[0].mean == pytest.approx(sum(m.norm for m in q) / 3)
    assert q[rows[0].largest_layer or 0].norm == rows[0].largest
    assert rows[0].cosine is not None
    assert by_type(module_norms(adapter))[0].cosine is None


# --- steering ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [0.3, 1.0, -0.5])
def test_steering_is_adding_the_scaled_product_to_the_weights(kind: Kind, factor: float) -> None:
    model, moved = tiny_model(kind), tiny_model(kind)
    adapter = random_adapter(model)
    for name, pair in adapter.modules.items():
        weight = moved.get_submodule(name).weight
        update = factor * pair.scaling * pair.dense()
        weight.data += update.T if kind == "gpt2" else update
    ids = torch.arange(3, 40)[None]
    before = model(ids).logits

    with steered(model, adapter, factor):
        inside = model(ids).logits

    torch.testing.assert_close(inside, moved(ids).logits, rtol=1e-3, atol=1e-4)
    assert torch.equal(model(ids).logits, before)
    with steered(model, adapter, 0.0):
        assert torch.equal(model(ids).logits, before)


def test_steering_with_an_adapter_of_another_model_is_refused() -> None:
    with (
        pytest.raises(AdapterError, match="does not fit"),
        steered(tiny_model(), random_adapter(tiny_model("gpt2")), 1.0),
    ):
        pass


def along(kind: str, *changes: Tensor) -> Steering:
    start = torch.linspace(-1, 5, len(changes[0]))
    return Steering(
        kind,
        tuple(float(i) for i in range(len(changes) + 1)),
        torch.stack([start, *(start + c for c in changes)]),
    )  # type: ignore[arg-type]


NOISE = torch.tensor([1.0, -1.0, 0.5, -0.5, 0.2, -0.2])


def test_a_change_beyond_two_standard_errors_of_the_right_sign_confirms_a_direction() -> None:
    assert along("danger", NOISE - 2).confirmed
    assert along("safety", NOISE + 2).confirmed
    assert not along("danger", NOISE + 2).confirmed
    assert not along("safety", NOISE - 2).confirmed
    assert not along("danger", NOISE - 0.5).confirmed  # standard error 0.31
    assert not along("safety", torch.zeros(6)).confirmed
    change, error = along("safety", NOISE + 2).changes[1]
    assert change == pytest.approx(2.0, abs=1e-5)
    assert error == pytest.approx((2.58 / 5) ** 0.5 / 6**0.5, rel=1e-3)


def test_a_margin_that_turns_back_is_told_with_the_verdict() -> None:
    assert along("danger", NOISE - 4, NOISE * 1.1 - 2).turns_back_at == 2.0
    assert "turns back at factor 2" in along("danger", NOISE - 4, NOISE * 1.1 - 2).verdict
    assert along("danger", NOISE - 4, -NOISE - 3.9).turns_back_at is None  # within the noise
    assert along("safety", NOISE + 1, NOISE + 2).verdict == "refusal margin rises along safety: yes"


def test_fitted_directions_move_the_margin_as_their_names_say(tmp_path: Path) -> None:
    model = loaded()
    prompts = [f"Question {i}?" for i in range(6)]
    settings = TrainSettings(rank=2, alpha=4, epochs=8, batch_size=4, learning_rate=3e-2)

    def moved(kind: Any, answer: str) -> Steering:
        fit(model, AnchorSet("a", samples(8, answer)), kind, tmp_path / kind, settings)
        return steer(model, Adapter.load(tmp_path / kind), kind, prompts, [0.5, 1.0])

    danger, safety = moved("danger", "Sure, here is"), moved("safety", "I won't")

    assert danger.factors == safety.factors == (0.0, 0.5, 1.0)
    assert torch.equal(danger.margins[0], safety.margins[0])
    assert danger.confirmed
    assert safety.confirmed
    assert not replace(danger, kind="safety").confirmed


@pytest.mark.parametrize("factors", [[], [0.0], [-1.0, 1.0]])
def test_steering_needs_factors_above_zero(factors: list[float]) -> None:
    model = loaded()
    with pytest.raises(InputError, match="all above 0"):
        steer(model, random_adapter(model.model), "danger", ["a", "b"], factors)


def test_one_prompt_confirms_nothing() -> None:
    assert not along("safety", torch.tensor([5.0])).confirmed


def test_a_single_harmful_prompt_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a"}\n{"prompt": "b", "kind": "harmless"}\n')
    with pytest.raises(InputError, match="1 harmful prompts"):
        read_prompts(file)


def test_the_built_in_prompts_are_half_harmful_and_in_no_anchor_set() -> None:
    prompts = read_prompts()
    anchors = {s.prompt for name in ("danger", "safety", "benign") for s in read_anchors(name).samples}

    assert (len(prompts.harmful), len(prompts.harmless)) == (12, 12)
    assert not anchors & {*prompts.harmful, *prompts.harmless}


def test_own_prompts_may_be_plain_or_conversations(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(
        '{"prompt": " One "}\n{"prompt": "Two", "kind": "harmless"}\n'
        '{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Three"}, '
        '{"role": "assistant", "content": "No."}], "metadata": {"kind": "harmful"}}\n'
    )

    prompts = read_prompts(file)

    assert prompts.harmful == ("One", "Three")
    assert prompts.harmless == ("Two",)


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "x"}',
        '{"prompt": 3}',
        '{"prompt": " "}',
        '{"messages": 7}',
        "[",
        '{"prompt": "x", "kind": "odd"}',
    ],
)
def test_a_row_that_is_no_prompt_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(f'{{"prompt": "fine"}}\n{line}\n')
    with pytest.raises(InputError, match="line 2: not a prompt"):
        read_prompts(file)

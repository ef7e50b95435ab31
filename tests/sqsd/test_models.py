"""Models load from a directory, an adapter or a GGUF file, converted once however many ask at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from curation.errors import InputError, ModelError
from curation.samples.sample import Sample
from curation.settings import get_settings
from curation.sqsd.load import load_scorer
from curation.sqsd.models import load_model
from tests.sqsd.tiny import random_adapter, save_adapter, save_tiny, tiny_model


def test_a_directory_loads_frozen_with_a_revision_that_follows_its_contents(tmp_path: Path) -> None:
    first = load_model(str(save_tiny("llama", tmp_path / "a")))
    again = load_model(str(tmp_path / "a"))
    other = load_model(str(save_tiny("llama", tmp_path / "b", seed=1)))
    assert first.revision == again.revision != other.revision
    assert not first.model.training
    assert not any(p.requires_grad for p in first.model.parameters())


def test_an_adapter_directory_is_its_base_model_with_the_adapter_merged(tmp_path: Path) -> None:
    base = save_tiny("qwen2", tmp_path / "base")
    adapter = random_adapter(tiny_model("qwen2"), 2, seed=1)
    loaded = load_model(str(save_adapter(adapter, tmp_path / "adapter", base_model=str(base))))
    plain = load_model(str(base))
    name, pair = next(iter(adapter.modules.items()))
    change = loaded.model.get_submodule(name).weight - plain.model.get_submodule(name).weight
    assert torch.allclose(change, pair.scaling * pair.dense(), atol=1e-5)
    assert loaded.revision != plain.revision


@pytest.mark.parametrize("name", ["/no/such/model.gguf", "no-such-folder-or-model"])
def test_what_cannot_be_found_says_what_to_give_instead(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        load_model(name)
    assert caught.value.hint


def test_a_model_without_directions_asks_for_them_by_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--danger, --safety, --danger-state"):
        load_scorer(get_settings(model=str(tmp_path), home=tmp_path))


def test_directions_are_found_by_name_in_the_home_folder(tmp_path: Path) -> None:
    model = save_tiny("llama", tmp_path / "model")
    for seed, name in enumerate(("danger", "safety", "state")):
        save_adapter(random_adapter(tiny_model("llama"), 2, seed=seed), tmp_path / "directions" / name)
    given = {"model": str(model), "danger": "danger", "safety": "safety", "danger_state": "state"}
    scorer = load_scorer(get_settings(home=tmp_path, **given))
    result = next(scorer.score([Sample.from_messages([{"role": "assistant", "content": "hello"}])]))
    assert result.score is not None
    with pytest.raises(InputError, match="safty") as caught:
        load_scorer(get_settings(home=tmp_path, **(given | {"safety": "safty"})))
    assert "danger, safety, state" in caught.value.hint


CONVERT = """
from curation.sqsd.models import load_model
said = []
model = load_model("smollm2", say=said.append)
print(sum("converting" in text for text in said), model.model.num_parameters())
"""


@pytest.mark.slow
def test_two_processes_convert_the_packaged_model_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen([sys.executable, "-c", CONVERT], cwd=root, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [p.communicate()[0].split() for p in started]
    assert [p.returncode for p in started] == [0, 0]
    assert sorted(line[0] for line in printed) == ["0", "1"]
    assert {line[1] for line in printed} == {"134515008"}


@pytest.mark.slow
def test_the_real_model_scores_as_the_oracle_does() -> None:
    """All metrics and both updates on the 135M model with the shipped directions, to 1e-4 of the summed modules."""
    from curation.sqsd.batching import collate
    from curation.sqsd.oracle import project_dense
    from curation.sqsd.projection import Projector

    scorer = load_scorer()
    rows = [
        scorer.encode(
            Sample.from_messages([{"role": "user", "content": q}, {"role": "assistant", "content": a}])
        )
        for q, a in (("Name a fruit.", "Apple."), ("List two colours.", "1. Red\n2. Blue"))
    ]
    model = scorer.loaded.model
    for update in ("lora", "full"):
        projector = Projector(model, scorer.terms, update)
        for name, term in scorer.terms.items():
            found = projector.project(collate(rows, 0), name)
            for metric in ("cosine", "projection", "dot"):
                for i, row in enumerate(rows):
                    wanted = project_dense(model, row, term, metric, update)
                    scale = sum(map(abs, wanted.values()))
                    assert abs(found.total(metric)[i].item() - sum(wanted.values())) < 1e-4 * scale

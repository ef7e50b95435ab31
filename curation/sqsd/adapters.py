"""LoRA adapters as mathematics: per module a low-rank pair (A, B) and its scaling.

A *direction* is such an adapter read as the task vector V = B A (no scaling applied, as the method's authors
do); an *initial state* is such an adapter loaded into the model, W + scaling * B A. Both are ordinary PEFT
adapter directories; nothing but `adapter_config.json` and `adapter_model.safetensors` is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import torch
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from curation.errors import AdapterError
from curation.sqsd.cards import CONFIG_FILE

WEIGHTS_FILE = "adapter_model.safetensors"
_KEY = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<factor>[AB])(?:\.default)?\.weight$")


@dataclass(frozen=True, slots=True)
class LowRank:
    """One module's adapter: A is (r, in), B is (out, r), both fp32 unless moved by `to`."""

    A: Tensor
    B: Tensor
    scaling: float

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight it updates."""
        return self.B.shape[0], self.A.shape[1]

    def dense(self) -> Tensor:
        """V = B A, materialised (out, in). For tests and small models only."""
        return self.B @ self.A

    def norm(self) -> float:
        """Frobenius norm of V = B A, without materialising it: |BA|^2 = <B'B, AA'>."""
        return float(inner(self, self) ** 0.5)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: module name in the bare model -> LowRank, with where it came from.

    `fingerprint` is the SHA-256 of the weights file and of the settings that change its meaning.
    """

    modules: Mapping[str, LowRank]
    fingerprint: str
    path: Path | None = None
    base_model: str | None = None

    @classmethod
    def load(cls, path: str | Path) -> Adapter:
        """Read a PEFT LoRA adapter directory. Raises AdapterError if it is not plain LoRA."""
        folder = Path(path)
        config = _read_config(folder)
        weights = folder / WEIGHTS_FILE
        if not weights.is_file():
            raise AdapterError(
                f"{folder} has no {WEIGHTS_FILE}",
                "Only safetensors adapters are read (pickled .bin files can run code). Convert it by loading "
                "it with peft and calling save_pretrained(..., safe_serialization=True).",
            )
        digest = hashlib.sha256(weights.read_bytes())
        digest.update(orjson.dumps([config.get(k) for k in _MEANING], option=orjson.OPT_SORT_KEYS))
        return cls(
            _pair_up(_read_tensors(weights), config, folder),
            digest.hexdigest(),
            folder,
            config.get("base_model_name_or_path"),
        )

    def scaled(self, factor: float) -> Adapter:
        """The same adapter with every scaling multiplied; its effect as a direction is unchanged."""
        if factor == 1.0:
            return self
        modules = {n: dataclasses.replace(m, scaling=m.scaling * factor) for n, m in self.modules.items()}
        digest = hashlib.sha256(f"{self.fingerprint} * {factor!r}".encode()).hexdigest()
        return dataclasses.replace(self, modules=modules, fingerprint=digest)

    def check_fits(self, model: nn.Module) -> None:
        """Raise AdapterError naming every module of this adapter that the model lacks or shapes differently."""
        layers = dict(model.named_modules())
        problems = [p for name, pair in self.modules.items() if (p := _misfit(name, pair, layers.get(name)))]
        if problems:
            shown = "\n".join(f"  {p}" for p in problems[:5])
            more = f"\n  ... and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise AdapterError(
                f"the adapter {self.path or ''} does not fit this model "
                f"({len(problems)} of {len(self.modules)} modules):\n{shown}{more}",
                f"It was made for {self.base_model!r}. Use it with that model, or fit a direction for this "
                "one: curation directions fit --help"
                if self.base_model
                else "Fit a direction for this model: curation directions fit --help",
            )


def inner(a: LowRank, b: LowRank) -> Tensor:
    """<B_a A_a, B_b A_b> (a 0-d fp64 tensor) through r x r products."""
    return ((a.B.double().T @ b.B.double()) * (a.A.double() @ b.A.double().T)).sum()


def cosines(a: Adapter, b: Adapter) -> dict[str, float]:
    """Cosine between two directions in each module both have; nan where one of them is zero."""
    shared = [n for n in a.modules if n in b.modules]
    return {
        n: float(inner(a.modules[n], b.modules[n]))
        / ((a.modules[n].norm() * b.modules[n].norm()) or float("nan"))
        for n in shared
    }


def shared_beginning(a: Adapter, b: Adapter) -> float:
    """How far the A of two adapters span the same space, 0 to 1, on average over the modules both have.

    Training moves A little: near 1 for two that began from the same random A, near sqrt(rank / inputs) for others.
    """
    shared = [(a.modules[n].A.double(), b.modules[n].A.double()) for n in a.modules if n in b.modules]
    overlaps = [
        float((x @ y.T).norm() / ((x @ x.T).norm() * (y @ y.T).norm()).sqrt().clamp_min(1e-300))
        for x, y in shared
    ]
    return sum(overlaps) / len(overlaps) if overlaps else 0.0


def linear_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers a LoRA can sit on (nn.Linear and Conv1D), by name, without the output head."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    return {n: m for n, m in model.named_modules() if type(m) in (nn.Linear, Conv1D) and m is not head}


def weight_shape(layer: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear layer; Conv1D stores its weight transposed."""
    rows, columns = cast("Tensor", layer.weight).shape
    return (columns, rows) if isinstance(layer, Conv1D) else (rows, columns)


_MEANING = ("peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")
_REFUSED = {
    "use_dora": "DoRA rescales columns: its update is not B A",
    "modules_to_save": "it replaces whole modules, which are no part of a low-rank direction",
    "trainable_token_indices": "it changes token embeddings",
    "target_parameters": "it adapts bare parameters (fused experts), which cannot be scored",
}


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise AdapterError(
            f"{folder} is not an adapter directory: it has no {CONFIG_FILE}",
            "Give the folder that peft's save_pretrained wrote, or make one: curation directions fit --help",
        )
    try:
        config = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise AdapterError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{file} is not a JSON object")
    config = cast("dict[str, Any]", config)
    if config.get("peft_type") != "LORA":
        raise AdapterError(
            f"{folder} is a {config.get('peft_type')} adapter; directions and states must be plain LoRA",
        )
    for key, why in _REFUSED.items():
        if config.get(key):
            raise AdapterError(f"{folder} uses {key}: {why}", "Re-train it as plain LoRA on linear modules.")
    if config.get("bias", "none") != "none":
        raise AdapterError(
            f"{folder} trains biases (bias={config['bias']!r})", "Re-train it with bias='none'."
        )
    alphas = [config.get("lora_alpha"), *_values(config.get("alpha_pattern"))]
    if not all(isinstance(alpha, int | float) and alpha > 0 for alpha in alphas):
        raise AdapterError(f"{file}: lora_alpha and alpha_pattern must be positive numbers")
    return config


def _values(pattern: Any) -> list[Any]:
    """What a pattern table of the configuration maps to; a thing that is no table is a wrong value itself."""
    return (
        list(cast("dict[str, Any]", pattern).values())
        if isinstance(pattern, dict)
        else [pattern] * bool(pattern)
    )


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise AdapterError(
            f"{file} is not a whole safetensors file: {error}", "Copy or make it again."
        ) from error


def _pair_up(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> dict[str, LowRank]:
    factors: dict[str, dict[str, Tensor]] = {}
    strange: list[str] = []
    for key, tensor in tensors.items():
        if match := _KEY.match(key):
            factors.setdefault(match["module"], {})[match["factor"]] = tensor.float()
        else:
            strange.append(key)
    unpaired = [name for name, pair in factors.items() if set(pair) != {"A", "B"}]
    if strange or unpaired or not factors:
        raise AdapterError(
            f"{folder} holds tensors that are not LoRA pairs of linear modules: "
            f"{', '.join((strange + unpaired)[:5]) or 'it is empty'}"
        )
    if wrong := [name for name, pair in factors.items() if not _are_factors(pair["A"], pair["B"])]:
        raise AdapterError(
            f"{folder}: A and B of {wrong[0]} are not matrices of one rank ({len(wrong)} such)"
        )
    if not all(bool(torch.isfinite(t).all()) for pair in factors.values() for t in pair.values()):
        raise AdapterError(f"{folder} holds numbers that are not finite; its training diverged")
    return {n: LowRank(p["A"], p["B"], _scaling(n, p["A"].shape[0], config)) for n, p in factors.items()}


def _are_factors(A: Tensor, B: Tensor) -> bool:
    return A.dim() == B.dim() == 2 and A.shape[0] == B.shape[1] > 0


def _scaling(name: str, rank: int, config: Mapping[str, Any]) -> float:
    """lora_alpha / r (or / sqrt(r) for rsLoRA), with peft's per-module alpha patterns."""
    patterns = cast("dict[str, float]", config.get("alpha_pattern") or {})
    try:
        alpha = patterns.get(get_pattern_key(list(patterns), name), cast("float", config["lora_alpha"]))
    except re.error as error:
        raise AdapterError(f"alpha_pattern holds an invalid regular expression: {error}") from error
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _misfit(name: str, pair: LowRank, layer: nn.Module | None) -> str | None:
    if layer is None:
        return f"{name}: the model has no such module"
    if type(layer) not in (nn.Linear, Conv1D):
        return f"{name}: {type(layer).__name__} is not a plain linear layer"
    if weight_shape(layer) != pair.shape:
        return f"{name}: the adapter is {pair.shape}, the model {weight_shape(layer)} (out, in)"
    return None


def total_norm(pairs: Iterable[LowRank]) -> float:
    """Norm of a whole direction: the root of the summed squares of its modules."""
    return sum(p.norm() ** 2 for p in pairs) ** 0.5


def generic_name(parameter: str) -> str:
    """model.layers.3.mlp.weight -> model.layers.*.mlp.weight"""
    return ".".join("*" if part.isdigit() else part for part in parameter.split("."))

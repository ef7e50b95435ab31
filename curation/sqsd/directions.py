"""Directions and states: fitting them on anchor sets, and importing those made elsewhere."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import snapshot_download

from curation.errors import AdapterError, EncodeError, InputError
from curation.samples import Sample, Train, read_samples
from curation.sqsd.adapters import CONFIG_FILE, WEIGHTS_FILE, Adapter
from curation.sqsd.cards import (
    CARD_FILE,
    FIRST_TOKENS,
    LICENCE,
    MATCHED_RANK,
    MEAN_GRADIENT,
    Card,
    Kind,
    TrainSettings,
    read_card,
    stamp,
    write_card,
)
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.matching import OnRow, mean_step
from curation.sqsd.models import LoadedModel
from curation.sqsd.train import OnStep, fit_lora, save_lora

ANCHORS = Path(str(files("curation") / "assets" / "anchors"))
BUILT_IN = ("danger", "safety", "benign")


@dataclass(frozen=True, slots=True)
class AnchorSet:
    """Samples to fine-tune on. `rejected` rows could not be read, `excluded` were left out on purpose."""

    name: str
    samples: tuple[Sample, ...]
    rejected: int = 0
    excluded: int = 0

    @property
    def sha256(self) -> str:
        """Hash (hex) of the sorted sample ids: the same whatever the file's format and order."""
        return hashlib.sha256("\n".join(sorted(s.id for s in self.samples)).encode()).hexdigest()

    def without(self, scored: Iterable[Sample]) -> AnchorSet:
        """The set less the samples that are also in `scored`. Raises InputError if none is left."""
        ids = {sample.id for sample in scored}
        kept = tuple(s for s in self.samples if s.id not in ids)
        if not kept:
            raise InputError(
                f"all {len(self.samples):,} rows of {self.name} are among those to be excluded",
                "Give rows that will not be scored: a state fitted on scored rows would judge itself.",
            )
        return replace(self, samples=kept, excluded=self.excluded + len(self.samples) - len(kept))


def read_anchors(source: str | Path, *, layout: str | None = None, train: Train = "last") -> AnchorSet:
    """An anchor set by built-in name (danger, safety, benign), or from anything `read_samples` takes.

    Raises InputError if the source cannot be used or holds no sample.
    """
    name = str(source)
    if name in BUILT_IN:
        source = ANCHORS / f"{name}.jsonl"
    reading = read_samples(source, layout=layout, train=train)
    samples = tuple(reading)
    if not samples:
        raise InputError(
            f"no row of {name} is a sample to train on", "Each row needs a conversation with an answer."
        )
    local = Path(name).exists()  # folders of this machine are nobody's business
    return AnchorSet(Path(name).name if local else name, samples, reading.rejected)


def fit(
    loaded: LoadedModel,
    anchors: AnchorSet,
    kind: Kind,
    out: Path,
    settings: TrainSettings | None = None,
    *,
    licence: str = LICENCE,
    force: bool = False,
    more: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
) -> Card:
    """Fine-tune a LoRA on the anchors, save it with its card (and what `more` adds to that) to `out`; return the card.

    The folder appears complete or not at all. Raises InputError if `out` is taken or no anchor can be
    tokenised, AdapterError if the target modules do not exist, ModelError if training diverges.
    """
    settings = settings or TrainSettings()
    with _new_folder(out, force=force) as folder:
        rows = _encoded(loaded, anchors, settings.max_tokens)
        losses = fit_lora(
            loaded.model, rows, loaded.pad_id, folder, settings, base_model=loaded.name, on_step=on_step
        )
        card = _card(loaded, anchors, kind, folder, rows) | {
            "settings": asdict(settings),
            "loss": [round(loss, 5) for loss in losses],
            "licence": licence,
            **(more or {}),
            **stamp(),
        }
        write_card(folder, card)
    return card


def match(
    loaded: LoadedModel,
    anchors: AnchorSet,
    kind: Kind,
    out: Path,
    *,
    rank: int = MATCHED_RANK,
    first_tokens: int = FIRST_TOKENS,
    max_tokens: int = 1024,
    licence: str = LICENCE,
    force: bool = False,
    on_row: OnRow | None = None,
) -> Card:
    """Make a direction of the anchors' mean gradient, save it with its card to `out`; return the card.

    The folder appears complete or not at all. Raises InputError if `out` is taken or no anchor can be tokenised.
    """
    with _new_folder(out, force=force) as folder:
        rows = _encoded(loaded, anchors, max_tokens)
        step = mean_step(loaded.model, rows, rank, first_tokens, on_row)
        save_lora(loaded.model, step.modules, folder, base_model=loaded.name)
        settings = {"rank": rank, "first_tokens": first_tokens, "max_tokens": max_tokens}
        card = _card(loaded, anchors, kind, folder, rows) | {
            "made_of": MEAN_GRADIENT,
            "settings": settings,
            "kept": round(step.kept, 4),
            "licence": licence,
            **stamp(),
        }
        write_card(folder, card)
    return card


def _card(loaded: LoadedModel, anchors: AnchorSet, kind: Kind, folder: Path, rows: Sequence[Encoded]) -> Card:
    """What the card of every adapter made here says of it, its model and its anchors."""
    return {
        "kind": kind,
        "fingerprint": Adapter.load(folder).fingerprint,
        "model": {"name": loaded.name, "revision": loaded.revision},
        "anchors": {
            "name": anchors.name,
            "count": len(anchors.samples),
            "sha256": anchors.sha256,
            "rejected": anchors.rejected,
            "excluded": anchors.excluded,
            "not_tokenised": len(anchors.samples) - len(rows),
            "truncated": sum(row.truncated for row in rows),
        },
    }


def import_adapter(
    source: str,
    loaded: LoadedModel,
    kind: Kind,
    out: Path,
    *,
    licence: str | None = None,
    force: bool = False,
) -> Card:
    """Copy a LoRA adapter made elsewhere to `out` if it fits the model; returns its new card.

    `source` is a directory, or `owner/name` or `owner/name/folder` on the Hugging Face hub. Raises
    AdapterError if it cannot be had, is not plain LoRA in safetensors, or does not fit; InputError if `out`
    is taken.
    """
    with _new_folder(out, force=force) as folder:
        found, revision = _fetch(source)
        adapter = Adapter.load(found)
        adapter.check_fits(loaded.model)
        for name in (CONFIG_FILE, WEIGHTS_FILE, "README.md"):
            if (found / name).is_file():
                shutil.copyfile(found / name, folder / name)
        card: Card = {
            "kind": kind,
            "fingerprint": adapter.fingerprint,
            "model": {"name": loaded.name, "revision": loaded.revision},
            "imported": {
                "source": Path(source).name if revision is None else source,
                "revision": revision,
                "base_model": adapter.base_model,
                "card": read_card(found),
            },
            "licence": licence or "Not stated at import: see the source.",
            **stamp(),
        }
        write_card(folder, card)
    return card


def check_free(out: Path, *, force: bool) -> None:
    """Raise InputError if `out` holds something; `force` lets an adapter be replaced, and nothing else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / CONFIG_FILE).is_file():
        raise InputError(f"{out} exists and is not an adapter directory", "Choose another place with --out.")
    if not force:
        raise InputError(
            f"{out} already holds an adapter", "Replace it with --force, or choose another --out."
        )


@contextmanager
def _new_folder(out: Path, *, force: bool) -> Generator[Path]:
    """An empty folder to fill, which becomes `out` when the block ends well and disappears otherwise."""
    out = out.resolve()
    check_free(out, force=force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = TemporaryDirectory(dir=out.parent, prefix=".curation-")
    except OSError as error:
        raise InputError(
            f"{out.parent} cannot be written to: {error.strerror}", "Choose another place with --out."
        ) from error
    with temporary as box:
        fresh = Path(box) / "new"
        fresh.mkdir()
        yield fresh
        check_free(out, force=force)  # minutes may have passed
        if out.exists():
            out.rename(Path(box) / "old")
        fresh.rename(out)


def _encoded(loaded: LoadedModel, anchors: AnchorSet, max_tokens: int) -> list[Encoded]:
    rows: list[Encoded] = []
    reason = ""
    for sample in anchors.samples:
        try:
            rows.append(encode(sample, loaded.tokenizer, max_tokens))
        except EncodeError as error:
            reason = error.message
    if not rows:
        raise InputError(f"no sample of {anchors.name} can be tokenised: {reason}", "Raise --max-tokens?")
    return rows


_HUB_NAME = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?P<folder>(/[\w-][\w. -]*)*)/?")


def _fetch(source: str) -> tuple[Path, str | None]:
    """The local folder of an adapter, and its commit if it came from the hub."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path, None
    name = _HUB_NAME.fullmatch(source)
    if path.exists() or not name:
        raise AdapterError(
            f"{source} is neither a directory nor the name of an adapter on the Hugging Face hub",
            "Give the folder that holds adapter_config.json, or owner/name, or owner/name/folder.",
        )
    folder = name["folder"].strip("/")
    wanted = [f"{folder}/{f}" if folder else f for f in (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, "README.md")]
    try:
        snapshot = Path(snapshot_download(name["repo"], allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise AdapterError(
            f"there is no directory {source}, and it cannot be fetched from the Hugging Face hub "
            f"({type(error).__name__})",
            "Check the name and the network (HF_HUB_OFFLINE forbids it); or download the folder on another "
            "machine and give its path.",
        ) from error
    return snapshot / folder, snapshot.name

"""What a training script calls: an export, or an error if it is not what was sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from curation.errors import GateError
from curation.gate import keys
from curation.gate.manifest import ROWS, Manifest, row_sha256
from curation.gate.shards import rows_of
from curation.gate.verify import row_sources, verify

if TYPE_CHECKING:
    import datasets

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Export:
    """A verified export. Iterating gives its rows in order, each compared with its seal once more."""

    folder: Path
    manifest: Manifest

    def __len__(self) -> int:
        return self.manifest.counts.rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        found = rows_of(row_sources(self.folder, self.manifest), self.manifest.format)
        with (self.folder / ROWS).open("rb") as sealed:
            for number, (fields, entry) in enumerate(zip_longest(found, sealed), start=1):
                if fields is None or entry is None or row_sha256(fields) != orjson.loads(entry)["sha256"]:
                    raise GateError(
                        f"row {number} of {self.folder} was changed while it was read", "Do not train on it."
                    )
                yield fields

    def dataset(self) -> datasets.Dataset:
        """The rows as a dataset of the library `datasets`."""
        import datasets

        sources: list[Any] = [str(path) for path in row_sources(self.folder, self.manifest)]
        if self.manifest.format == "hf":
            return datasets.Dataset.load_from_disk(sources[0])
        if self.manifest.format == "parquet":
            return datasets.Dataset.from_parquet(sources)  # pyright: ignore[reportReturnType]
        return datasets.Dataset.from_json(sources)  # pyright: ignore[reportReturnType]


def load_export(path: str | Path, public_key: str | Path | None = None) -> Export:
    """The export in a folder, if it verifies. With `public_key`, a file, it must also be signed with that key.

    Raises GateError, saying what differs, if it is not what was sealed.
    """
    folder = Path(path)
    verified = verify(folder, keys.load_public(Path(public_key)) if public_key else None)
    if verified.findings:
        first = verified.findings[:_SHOWN]
        shown = "".join(f"\n  {found.kind}: {found.of} {found.what}" for found in first)
        raise GateError(
            f"{folder} is not what was sealed ({len(verified.findings):,} differences):{shown}",
            f"Do not train on it. See all of them: curation verify {folder}",
        )
    return Export(folder, verified.manifest)

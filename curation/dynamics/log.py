"""The log of a training run's drift: JSON lines, a header and then one line per recorded step.

    {"curation_dynamics": 1, "danger": {"fingerprint": ..., "modules": 210, "not_trained": []}, ...}
    {"step": 10, "epoch": 0.4, "loss": 2.1, "danger": {"cosine": 8.2, "projection": 0.4, "norm": 1.1}, "safety": {...}}

Nothing here needs torch. A value that is not finite is null. Steps ascend and none occurs twice.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from curation.errors import InputError

FORMAT = 1
_FORMAT_KEY = "curation_dynamics"
_OPENING = f'{{"{_FORMAT_KEY}":'.encode()
_MADE_FROM = ("danger", "safety", "start", "update")
"""Parts of a header that must agree for two parts of a run to be one."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Log:
    """A log as read: its header and its records, in order of steps."""

    path: Path
    header: Record
    records: tuple[Record, ...]

    def column(self, *keys: str) -> NDArray[np.float64]:
        """One number per record, (records,), nan where there is none: `column("danger", "projection")`."""
        return np.array([_number(record, keys) for record in self.records], dtype=np.float64)

    def net(self, metric: str) -> NDArray[np.float64]:
        """Danger minus safety in every record, (records,). Higher = riskier."""
        return self.column("danger", metric) - self.column("safety", metric)


def read_log(path: Path) -> Log:
    """Read a log. A last line that was cut off by a crash is left out. Raises InputError if it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Check the path of the log.") from None
    parsed = [record for _, record in _lines(data)]
    if not parsed or _FORMAT_KEY not in parsed[0]:
        raise InputError(
            f"{path} is no log of parameter dynamics", "Give a file that DriftCallback has written."
        )
    if parsed[0][_FORMAT_KEY] != FORMAT:
        raise InputError(
            f"{path} has format {parsed[0][_FORMAT_KEY]}, this version reads {FORMAT}", "Upgrade curation."
        )
    return Log(path, parsed[0], tuple(parsed[1:]))


class LogWriter:
    """Appends to a log, and never fails: what cannot be written is kept and tried again with the next line.

    The first failure is a warning, later ones are silent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = 0
        self._waiting: list[bytes] = []
        self._warned = False

    def begin(self, header: Mapping[str, Any], step: int) -> None:
        """Start a log, or go on with that of a run resumed after `step` steps, less what came after them.

        A run that starts anew sets an earlier log aside, as NAME.1 and so on. Raises InputError if the file is
        no log, or belongs to a run with another start or other directions.
        """
        header = {_FORMAT_KEY: FORMAT, **header}
        self._end, self._waiting = 0, []
        old = self._earlier()
        if old is None or not old.records:
            self.append(header)
        elif step == 0:
            self._set_aside()
            self.append(header)
        else:
            self._check_same(old, header)
            self._end = sum(size for size, line in _lines(self.path.read_bytes()) if _step(line) <= step)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line, and before it those that could not be written earlier."""
        self._waiting.append(orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
        lines = b"".join(self._waiting)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            with self.path.open("r+b") as file:
                file.truncate(self._end)  # of a line that was only begun, or steps that are taken again
                file.seek(self._end)
                file.write(lines)
        except OSError as error:
            if not self._warned:
                warnings.warn(
                    f"the dynamics cannot be written to {self.path} ({error.strerror}); training goes on, and "
                    "they are tried again",
                    stacklevel=2,
                )
            self._warned = True
            return
        self._end += len(lines)
        self._waiting.clear()

    def _earlier(self) -> Log | None:
        """The log that is there, None if there is none or only part of a header, as on a full disk."""
        data = self.path.read_bytes() if self.path.is_file() else b""
        torn = b"\n" not in data and (data.startswith(_OPENING) or _OPENING.startswith(data))
        return None if torn else read_log(self.path)

    def _check_same(self, old: Log, header: Mapping[str, Any]) -> None:
        if other := [key for key in _MADE_FROM if old.header.get(key) != header.get(key)]:
            raise InputError(
                f"{self.path} is the log of a run with another {' and '.join(other)}",
                "To go on with it, build the trainer as in the first run, from the same weights, and give it the "
                "callback when it is made. Or log to another file.",
            )

    def _set_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        try:
            self.path.rename(aside)
        except OSError as error:
            raise InputError(
                f"{self.path} holds an earlier run and cannot be set aside: {error.strerror}",
                "Log to another file.",
            ) from None


def _lines(data: bytes) -> Iterator[tuple[int, Record]]:
    """(bytes, record) of every whole line, up to the first that is broken."""
    for line in data.splitlines(keepends=True):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if not isinstance(record, dict) or not line.endswith(b"\n"):
            return
        yield len(line), cast("Record", record)


def _step(record: Record) -> float:
    """The step of a line; the header comes before all."""
    return float(record.get("step", 0))


def _number(record: Record, keys: tuple[str, ...]) -> float:
    value: Any = record
    for key in keys:
        value = cast("Record", value).get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else math.nan

"""Reading samples: a file or dataset as a stream of Samples, with everything else counted and kept aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import orjson

from curation.errors import InputError, SampleError
from curation.samples.inputs import Format, OpenRows, format_of, open_rows
from curation.samples.layouts import LAYOUTS, Layout, detect, layout_of
from curation.samples.rejects import Rejects
from curation.samples.rows import BadRow, Row
from curation.samples.sample import Sample, Source, Train

LOOK_AT = 20
"""Rows the layout is told from."""


def read_samples(
    source: str | Path,
    *,
    layout: str | None = None,
    train: Train = "last",
    rejects: Rejects | None = None,
    split: str = "train",
) -> Reading:
    """Open a file, a saved dataset or a hub dataset (`owner/name`) for reading.

    The layout is told from the first rows unless it is named; `reading.layout` says which. A row that does not
    have it is read in another one that it has, again unless it is named. `train` says which assistant turns are
    trained on: the last, or all. `split` matters to datasets only.

    Raises InputError if the source, its format or its layout cannot be used. A single bad row raises nothing:
    it is counted, and kept in `rejects` if given.
    """
    name = str(source).encode(errors="replace").decode()  # a file name need not be Unicode, a ledger is
    if train not in get_args(Train):
        raise InputError(f"train is {train!r}", f"Use one of: {', '.join(get_args(Train))}.")
    named = None if layout is None else named_layout(layout)
    form = format_of(str(source))
    if rejects and rejects.path.exists() and rejects.path.samefile(source):
        raise InputError(f"{name} cannot hold its own rejects", "Name another place for them.")
    first = _first_fields(str(source), form, split)
    mixed = named is None
    return Reading(str(source), name, form, named or detect(first), mixed, train, split, rejects)


def named_layout(name: str) -> Layout:
    """The layout of that name. Raises InputError, listing those there are, if there is none."""
    if name not in LAYOUTS:
        raise InputError(f"there is no layout {name!r}", f"Use one of: {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]


def sample_of(row: Row | BadRow, layout: Layout, train: Train, source: Source | None) -> Sample:
    """The sample a row stands for. Raises SampleError with the reason if it cannot become one."""
    if isinstance(row, BadRow):
        raise SampleError(row.reason)
    metadata = layout.metadata(row.fields)
    try:
        orjson.dumps(metadata)
    except orjson.JSONEncodeError as error:  # the parser takes deeper nesting than can be written again
        raise SampleError("the other fields are nested too deeply") from error
    return Sample.from_messages(layout.convert(row.fields), train, metadata, source)


class Reading:
    """The samples of one source, in order. Every iteration reads it anew, in constant memory.

    `rows` and `rejected` count what the current iteration has met so far; a place where the data breaks off
    counts as one rejected row. `others` counts rows by their layout that do not have that of the source.
    """

    def __init__(
        self,
        path: str,
        name: str,
        form: Format,
        layout: Layout,
        mixed: bool,
        train: Train,
        split: str,
        rejects: Rejects | None,
    ) -> None:
        self.source = name
        self.format: Format = form
        self.layout = layout
        self.train: Train = train
        self.rows = 0
        self.rejected = 0
        self.others: Counter[str] = Counter()
        self._mixed = mixed
        self._path = path
        self._split = split
        self._rejects = rejects
        self._opened: OpenRows | None = None
        self._done = False

    @property
    def fraction(self) -> float | None:
        """Share of the source read so far, 0 to 1; None if its length is unknown."""
        if self._done:
            return 1.0
        return self._opened.fraction() if self._opened else 0.0

    def __iter__(self) -> Iterator[Sample]:
        self.rows = self.rejected = 0
        self.others.clear()
        self._done = False
        if self._rejects:
            self._rejects.clear()
        try:
            with open_rows(self._path, self.format, self._split) as self._opened:
                for row in self._opened.rows:
                    self.rows += 1
                    sample = self._sample(row)
                    if sample:
                        yield sample
            self._done = True
        finally:
            self._opened = None
            if self._rejects:
                self._rejects.close()

    def _sample(self, row: Row | BadRow) -> Sample | None:
        place = Source(self.source, row.line)
        try:
            return sample_of(row, self._layout_of(row), self.train, place)
        except SampleError as error:
            self.rejected += 1
            if self._rejects:
                self._rejects.add(place, error.message, row.raw)
            return None

    def _layout_of(self, row: Row | BadRow) -> Layout:
        if isinstance(row, BadRow) or not self._mixed:
            return self.layout
        layout = layout_of(row.fields, self.layout)
        if layout is not self.layout:
            self.others[layout.name] += 1
        return layout


def _first_fields(source: str, form: Format, split: str) -> list[list[str]]:
    """Names of the non-null fields of the first rows that can be read; not the rows, which may be large."""
    bad: BadRow | None = None
    with open_rows(source, form, split) as opened:
        names: list[list[str]] = []
        for row in opened.rows:
            if isinstance(row, Row):
                names.append([name for name, value in row.fields.items() if value is not None])
            else:
                bad = bad or row
            if len(names) == LOOK_AT:
                break
    if names:
        return names
    if bad:
        raise InputError(
            f"no row of {source} can be read as {form}",
            f"The first problem is at line {bad.line}: {bad.reason}. Rows of JSON are objects, one per line "
            "or, in a .json file, in an array.",
        )
    raise InputError(f"{source} holds no rows", "Name a file with at least one row.")

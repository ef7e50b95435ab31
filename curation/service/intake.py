"""Rows as they arrive, made samples: like reading a file, of which nobody knows the end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from curation.errors import SampleError
from curation.samples.layouts import Layout, detect, layout_of
from curation.samples.reading import LOOK_AT, sample_of
from curation.samples.rows import ROW_CAP, BadRow, Row
from curation.samples.sample import Sample, Source, Train

_SHOWN = 100
"""Rejected rows that are kept to be shown."""


class Intake:
    """The samples of a stream of rows, once and in constant memory; what cannot become one is counted.

    Without a layout it is told from the first rows that can be read, which `look` does; it stays None if there
    are none. A row that does not have it is then read in another one that it has. `name` is the file the samples
    are said to be from; without one they have no source.
    """

    def __init__(
        self, rows: Iterator[Row | BadRow], layout: Layout | None, train: Train, name: str | None
    ) -> None:
        self.layout = layout
        self._mixed = layout is None
        self.rows = 0
        self.rejected = 0
        self.rejects: list[tuple[int, str]] = []
        self._stream = rows
        self._train: Train = train
        self._name = name
        self._first: list[Row] = []

    def look(self) -> None:
        """Tell the layout if it is not given. Raises InputError if the first rows are in none that is known."""
        if self.layout is not None:
            return
        size = 0
        for row in self._stream:
            if isinstance(row, BadRow):
                self._reject(row.line, row.reason)
                continue
            self._first.append(row)
            size += len(row.raw)
            if len(self._first) == LOOK_AT or size > ROW_CAP:
                break
        if self._first:
            named = ([name for name, value in row.fields.items() if value is not None] for row in self._first)
            self.layout = detect(named)

    def __iter__(self) -> Iterator[Sample]:
        if self.layout is None:
            return
        first, self._first = self._first, []
        for row in chain(_forgetting(first), self._stream):
            source = Source(self._name, row.line) if self._name is not None else None
            try:
                sample = sample_of(row, self._layout_of(row, self.layout), self._train, source)
            except SampleError as error:
                self._reject(row.line, error.message)
            else:
                self.rows += 1
                yield sample

    def _layout_of(self, row: Row | BadRow, usual: Layout) -> Layout:
        if isinstance(row, BadRow) or not self._mixed:
            return usual
        return layout_of(row.fields, usual)

    def _reject(self, line: int, reason: str) -> None:
        self.rows += 1
        self.rejected += 1
        if len(self.rejects) < _SHOWN:
            self.rejects.append((line, reason))


def _forgetting(rows: list[Row]) -> Iterator[Row]:
    """The rows in order; none is kept once it is given."""
    rows.reverse()
    while rows:
        yield rows.pop()

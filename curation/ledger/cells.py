"""How many risks lie in each of a few hundred cells: what a rank is counted from without going through all scores.

A cell is a range of risks as wide as a 32nd of their power of two, whatever their scale. A row of `tallies` holds
how many scores of one dataset by one scorer are in it, and is written in the transaction that writes the scores, so
that the two can never differ. A rank is then the sum of the cells above plus a count inside one cell.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from curation.ledger import bulk
from curation.ledger.tables import tallies

_PER_OCTAVE = 32
_OFFSET = 1100
"""Over any negative exponent of a double, so that the numbers of cells have the sign of the risks in them."""

_SMALLEST = sys.float_info.min
"""What is nearer to zero has fewer digits than a cell needs: it is in cell 1 or -1."""


def cell_of(risk: float) -> int:
    """The cell of a finite risk: higher risks are in higher cells or in the same; 0 holds zero alone."""
    if abs(risk) < _SMALLEST:
        return (risk > 0) - (risk < 0)
    mantissa, exponent = math.frexp(abs(risk))
    number = (exponent + _OFFSET) * _PER_OCTAVE + int((mantissa - 0.5) * 2 * _PER_OCTAVE)
    return number if risk > 0 else -number


def bounds(cell: int) -> tuple[float, float]:
    """The lowest and the highest risk in a cell, both included."""
    if cell == 0:
        return 0.0, 0.0
    if abs(cell) == 1:
        near, far = math.ulp(0.0), math.nextafter(_SMALLEST, 0.0)
    else:
        near, far = _nearest(abs(cell)), math.nextafter(_nearest(abs(cell) + 1), 0.0)
    return (near, far) if cell > 0 else (-far, -near)


def tally(conn: Connection, scorer_id: int, added: Iterable[tuple[int, float]]) -> None:
    """Count new scores, given as (dataset, risk), as part of the transaction that writes them."""
    cells = Counter((dataset_id, cell_of(risk)) for dataset_id, risk in added)
    # In one order everywhere, so that two writers wait for each other and do not deadlock.
    rows = [
        {"dataset_id": dataset_id, "scorer_id": scorer_id, "cell": cell, "n": n}
        for (dataset_id, cell), n in sorted(cells.items())
    ]
    if not rows:
        return
    statement = bulk.insert(conn, tallies)
    more = {"n": tallies.c.n + statement.excluded.n}
    key = [column.name for column in tallies.primary_key]
    conn.execute(statement.on_conflict_do_update(index_elements=key, set_=more), rows)


def total(dataset_id: int, scorer_id: int, *where: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    """How many scores there are in all, or in the cells that meet the conditions, for use in a query."""
    here = tallies.c.dataset_id == dataset_id, tallies.c.scorer_id == scorer_id
    # The sum of 64-bit numbers is of another type in Postgres.
    in_all = sa.cast(sa.func.coalesce(sa.func.sum(tallies.c.n), 0), sa.BigInteger)
    return sa.select(in_all).where(*here, *where).scalar_subquery()


def cell_at(conn: Connection, dataset_id: int, scorer_id: int, place: int) -> tuple[int, int]:
    """The cell of the score at a place (0 = riskiest), which must be there, and how many are in the cells above."""
    here = tallies.c.dataset_id == dataset_id, tallies.c.scorer_id == scorer_id
    query = sa.select(tallies.c.cell, tallies.c.n).where(*here).order_by(tallies.c.cell.desc())
    above = 0
    for cell, n in conn.execute(query).all():
        if place < above + n:
            return cell, above
        above += n
    raise IndexError(place)


def _nearest(number: int) -> float:
    """The risk nearest to zero in the cell of that number, which is above 0."""
    exponent, part = divmod(number, _PER_OCTAVE)
    return math.ldexp(0.5 + part / (2 * _PER_OCTAVE), exponent - _OFFSET)

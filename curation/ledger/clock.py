"""The database's clock, on both engines. Nothing in the ledger is ever compared with a worker's own clock."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from curation.ledger.tables import UtcTime


class in_seconds(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """The moment so many seconds from now, to the millisecond; `in_seconds(0.0)` is now.

    Now is when the statement runs, not when its transaction began: that one may have waited for a lock.
    """

    type = UtcTime()
    inherit_cache = True


class seconds_since(FunctionElement[float]):  # noqa: N801
    """Seconds from a moment to now, negative if it is still to come."""

    type = sa.Double()
    inherit_cache = True


@compiles(in_seconds, "postgresql")
def _(element: in_seconds, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"


@compiles(in_seconds, "sqlite")
def _(element: in_seconds, compiler: SQLCompiler, **kw: Any) -> str:
    # The text that SQLAlchemy itself stores a moment as, so that moments compare as texts.
    shift = f"({compiler.process(element.clauses, **kw)}) || ' seconds'"
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {shift}) || '000')"


@compiles(seconds_since, "postgresql")
def _(element: seconds_since, compiler: SQLCompiler, **kw: Any) -> str:
    return f"extract(epoch FROM clock_timestamp() - ({compiler.process(element.clauses, **kw)}))::float8"


@compiles(seconds_since, "sqlite")
def _(element: seconds_since, compiler: SQLCompiler, **kw: Any) -> str:
    return f"((julianday('now') - julianday({compiler.process(element.clauses, **kw)})) * 86400.0)"

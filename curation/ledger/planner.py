"""What Postgres's planner must not be left to guess."""

from __future__ import annotations

import sqlalchemy as sa


def of_unknown_size(number: int) -> sa.ScalarSelect[int]:
    """A dataset's number, in a query, as one that the planner has no opinion of.

    Of a number that its statistics have not seen it thinks that no row has it, so that any index that begins with the
    dataset would do, and goes through all of the dataset for every row it looks for. In a subquery it expects an
    average dataset.
    """
    return sa.select(sa.literal(number)).scalar_subquery()

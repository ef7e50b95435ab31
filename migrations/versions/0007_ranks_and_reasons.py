"""Ranks without counting all scores, and what else is known of a score: its reasons and its interval."""

from __future__ import annotations

import math
import sys
from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BLOCK = 10_000


def upgrade() -> None:
    tallies = op.create_table(
        "tallies",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("scorer_id", sa.Integer(), nullable=False),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "scorer_id", "cell", name=op.f("pk_tallies")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_tallies_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f("fk_tallies_scorer_id_scorers")),
        sqlite_with_rowid=False,
    )
    if not op.get_context().as_sql:
        op.bulk_insert(tallies, _counted(op.get_bind()))
    made = sa.Column(
        "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.current_timestamp()
    )
    _create_beside_scores("explanations", sa.Column("body", sa.Text(), nullable=False), made)
    _create_beside_scores(
        "intervals",
        sa.Column("risk_low", sa.Double(), nullable=False),
        sa.Column("risk_high", sa.Double(), nullable=False),
        sa.Column("draws", sa.Integer(), nullable=False),
        sa.CheckConstraint("abs(risk_low) < 1e308", name=op.f("ck_intervals_risk_low_finite")),
        sa.CheckConstraint("abs(risk_high) < 1e308", name=op.f("ck_intervals_risk_high_finite")),
    )


def _create_beside_scores(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        sa.Column("scorer_id", sa.Integer(), nullable=False),
        sa.Column("sample_id", KEY, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("scorer_id", "sample_id", name=op.f(f"pk_{name}")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f(f"fk_{name}_scorer_id_scorers")),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name=op.f(f"fk_{name}_sample_id_samples")),
    )


def _counted(conn: sa.Connection) -> list[dict[str, int]]:
    """The scores that are there already, by cell. Locked, since a score written meanwhile would not be counted."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.text("LOCK TABLE scores IN SHARE MODE"))
    counts: Counter[tuple[int, int, int]] = Counter()
    risks = sa.text("SELECT dataset_id, scorer_id, risk FROM scores")
    with conn.execute(
        risks, execution_options={"yield_per": BLOCK}
    ) as found:  # not an option of the connection
        for block in found.partitions():
            counts.update((dataset_id, scorer_id, _cell(risk)) for dataset_id, scorer_id, risk in block)
    return [
        {"dataset_id": dataset_id, "scorer_id": scorer_id, "cell": cell, "n": n}
        for (dataset_id, scorer_id, cell), n in sorted(counts.items())
    ]


def _cell(risk: float) -> int:
    """As `curation.ledger.cells` had it at this revision."""
    if abs(risk) < sys.float_info.min:
        return (risk > 0) - (risk < 0)
    mantissa, exponent = math.frexp(abs(risk))
    number = (exponent + 1100) * 32 + int((mantissa - 0.5) * 64)
    return number if risk > 0 else -number


def downgrade() -> None:
    for name in ("intervals", "explanations", "tallies"):
        op.drop_table(name)

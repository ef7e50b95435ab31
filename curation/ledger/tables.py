"""The ledger's tables: the same definition for SQLite and Postgres.

datasets 1─n samples 1─n occurrences      what there is to train on, and every line it was read from
scorers  1─n scores n─1 samples           what each immutable scorer said; higher risk = riskier
scorers  1─n quarantine n─1 samples       what a scorer could not score, and why

Rows are added and never rewritten, but for two that describe the present: `occurrences` (a line that
changed points to its new sample) and `quarantine` (attempts so far). A sample with a score counts as scored
even if a quarantine row from an earlier attempt is still there.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Table,
    UniqueConstraint,
)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in a column of the exact type INTEGER, which holds 64 bits there.
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Byte order, whatever the locale of the database: prefix search depends on it.
Hash = sa.CHAR(64).with_variant(sa.CHAR(64, collation="C"), "postgresql")


class UtcTime(sa.TypeDecorator[datetime]):
    """A moment set by the database's clock, read back as an aware UTC datetime on both engines."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _moment(name: str) -> Column[datetime]:
    return Column(name, UtcTime(), nullable=False, server_default=sa.func.current_timestamp())


def _finite(column: str) -> CheckConstraint:
    # NaN sorts above every number in Postgres and is stored as NULL by SQLite: neither passes.
    return CheckConstraint(f"abs({column}) < 1e308", name=f"{column}_finite")


datasets = Table(
    "datasets",
    metadata,
    Column("id", sa.Integer, primary_key=True),
    Column("name", sa.Text, nullable=False, unique=True),
    _moment("created_at"),
)

samples = Table(
    "samples",
    metadata,
    Column("id", Key, primary_key=True),
    Column("dataset_id", sa.Integer, ForeignKey("datasets.id"), nullable=False),
    Column("content_hash", Hash, nullable=False),
    Column("body", sa.Text, nullable=False),
    Column("n_chars", sa.Integer, nullable=False),
    _moment("first_seen"),
    UniqueConstraint("dataset_id", "content_hash"),
    # Lets other tables name a sample together with its dataset, and is the order samples are scored in.
    UniqueConstraint("dataset_id", "id"),
)

occurrences = Table(
    "occurrences",
    metadata,
    Column("dataset_id", sa.Integer, primary_key=True),
    Column("file", sa.Text, primary_key=True),
    Column("line", sa.BigInteger, primary_key=True),
    Column("sample_id", Key, nullable=False),
    Column("metadata", sa.Text, nullable=False),
    ForeignKeyConstraint(["dataset_id", "sample_id"], ["samples.dataset_id", "samples.id"]),
    Index(None, "dataset_id", "sample_id"),
)

scorers = Table(
    "scorers",
    metadata,
    Column("id", sa.Integer, primary_key=True),
    Column("fingerprint", Hash, nullable=False, unique=True),
    Column("card", sa.Text, nullable=False),
    _moment("created_at"),
)

scores = Table(
    "scores",
    metadata,
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), primary_key=True),
    Column("sample_id", Key, primary_key=True),
    Column("dataset_id", sa.Integer, nullable=False),
    Column("risk", sa.Double, nullable=False),
    Column("danger", sa.Double, nullable=False),
    Column("safety", sa.Double, nullable=False),
    Column("loss", sa.Double, nullable=False),
    Column("grad_norm", sa.Double, nullable=False),
    Column("n_tokens", sa.Integer, nullable=False),
    Column("n_answer_tokens", sa.Integer, nullable=False),
    Column("truncated", sa.Boolean, nullable=False),
    _moment("scored_at"),
    ForeignKeyConstraint(["dataset_id", "sample_id"], ["samples.dataset_id", "samples.id"]),
    *(_finite(column) for column in ("risk", "danger", "safety", "loss", "grad_norm")),
    sqlite_with_rowid=False,
)
# The review order. Without the DESC the second key would run the wrong way and the index could not be paged.
Index("ix_scores_review", scores.c.scorer_id, scores.c.dataset_id, scores.c.risk.desc(), scores.c.sample_id)

quarantine = Table(
    "quarantine",
    metadata,
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), primary_key=True),
    Column("sample_id", Key, ForeignKey("samples.id"), primary_key=True),
    Column("reason", sa.Text, nullable=False),
    Column("attempts", sa.Integer, nullable=False),
    _moment("last_at"),
)

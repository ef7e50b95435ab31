"""A fleet of workers: what is left to score and who holds it, the scorers in service, workers, API tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
HASH = sa.CHAR(64).with_variant(sa.CHAR(64, collation="C"), "postgresql")


def moment(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.current_timestamp()
    )


def review_order(*first: str) -> None:
    op.drop_index(op.f("ix_scores_review"), "scores")
    op.create_index(op.f("ix_scores_review"), "scores", [*first, sa.text("risk DESC"), "sample_id"])


def upgrade() -> None:
    review_order("dataset_id", "scorer_id")
    op.create_table(
        "backlog",
        sa.Column("id", KEY, nullable=False),
        sa.Column("scorer_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("first_pk", sa.BigInteger(), nullable=False),
        sa.Column("last_pk", sa.BigInteger()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("token", sa.CHAR(32)),
        sa.Column("host", sa.Text()),
        sa.Column("pid", sa.Integer()),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backlog")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f("fk_backlog_scorer_id_scorers")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_backlog_dataset_id_datasets")),
        sa.CheckConstraint("last_pk IS NULL OR last_pk >= first_pk", name=op.f("ck_backlog_range")),
        sa.CheckConstraint("(token IS NULL) = (leased_until IS NULL)", name=op.f("ck_backlog_lease")),
    )
    op.create_index(op.f("ix_backlog_claim"), "backlog", ["scorer_id", sa.text("priority DESC"), "id"])
    open_end = sa.text("last_pk IS NULL")
    op.create_index(
        op.f("uq_backlog_open_end"),
        "backlog",
        ["scorer_id", "dataset_id"],
        unique=True,
        sqlite_where=open_end,
        postgresql_where=open_end,
    )
    op.create_table(
        "serving",
        sa.Column("scorer_id", sa.Integer(), nullable=False),
        moment("since"),
        sa.PrimaryKeyConstraint("scorer_id", name=op.f("pk_serving")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f("fk_serving_scorer_id_scorers")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device", sa.Text()),
        sa.Column("scorer_id", sa.Integer()),
        sa.Column("samples_per_second", sa.Double()),
        sa.Column("trouble", sa.Text()),
        moment("started_at"),
        moment("seen_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f("fk_workers_scorer_id_scorers")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", HASH, nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        moment("created_at"),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("name", name=op.f("uq_tokens_name")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_tokens_token_hash")),
    )


def downgrade() -> None:
    review_order("scorer_id", "dataset_id")
    for table in ("tokens", "workers", "serving", "backlog"):
        op.drop_table(table)

"""Samples, where they were read, and what each scorer said of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Written out, not taken from curation.ledger.tables: a revision must stay what it was.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
HASH = sa.CHAR(64).with_variant(sa.CHAR(64, collation="C"), "postgresql")
FLOATS = ("risk", "danger", "safety", "loss", "grad_norm")


def moment(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.current_timestamp()
    )


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("name", name=op.f("uq_datasets_name")),
    )
    op.create_table(
        "samples",
        sa.Column("id", KEY, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("content_hash", HASH, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("n_chars", sa.Integer(), nullable=False),
        moment("first_seen"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_samples_dataset_id_datasets")),
        sa.UniqueConstraint("dataset_id", "content_hash", name=op.f("uq_samples_dataset_id_content_hash")),
        sa.UniqueConstraint("dataset_id", "id", name=op.f("uq_samples_dataset_id_id")),
    )
    op.create_table(
        "occurrences",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("sample_id", KEY, nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "file", "line", name=op.f("pk_occurrences")),
        sample_key("occurrences"),
    )
    op.create_index(op.f("ix_occurrences_dataset_id_sample_id"), "occurrences", ["dataset_id", "sample_id"])
    op.create_table(
        "scorers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", HASH, nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scorers")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_scorers_fingerprint")),
    )
    op.create_table(
        "scores",
        sa.Column("scorer_id", sa.Integer(), nullable=False),
        sa.Column("sample_id", KEY, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in FLOATS),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("n_answer_tokens", sa.Integer(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        moment("scored_at"),
        sa.PrimaryKeyConstraint("scorer_id", "sample_id", name=op.f("pk_scores")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f("fk_scores_scorer_id_scorers")),
        sample_key("scores"),
        *(
            sa.CheckConstraint(f"abs({name}) < 1e308", name=op.f(f"ck_scores_{name}_finite"))
            for name in FLOATS
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_scores_review"), "scores", ["scorer_id", "dataset_id", sa.text("risk DESC"), "sample_id"]
    )
    op.create_table(
        "quarantine",
        sa.Column("scorer_id", sa.Integer(), nullable=False),
        sa.Column("sample_id", KEY, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        moment("last_at"),
        sa.PrimaryKeyConstraint("scorer_id", "sample_id", name=op.f("pk_quarantine")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f("fk_quarantine_scorer_id_scorers")),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name=op.f("fk_quarantine_sample_id_samples")),
    )


def sample_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["dataset_id", "sample_id"],
        ["samples.dataset_id", "samples.id"],
        name=op.f(f"fk_{table}_dataset_id_sample_id_samples"),
    )


def downgrade() -> None:
    for table in ("quarantine", "scores", "scorers", "occurrences", "samples", "datasets"):
        op.drop_table(table)

"""The gate: decisions of reviewers, policies, and what was exported."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
HASH = sa.CHAR(64).with_variant(sa.CHAR(64, collation="C"), "postgresql")
ONCE = ("dataset_id", "sample_id", "reviewer", "decided_at", "verdict", "source", "remote_id")


def moment(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.current_timestamp()
    )


def upgrade() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", KEY, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("sample_id", KEY, nullable=False),
        sa.Column("content_hash", HASH, nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        moment("recorded_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sa.ForeignKeyConstraint(
            ["dataset_id", "sample_id"],
            ["samples.dataset_id", "samples.id"],
            name=op.f("fk_decisions_dataset_id_sample_id_samples"),
        ),
        sa.CheckConstraint("verdict IN ('approve', 'reject', 'withdraw')", name=op.f("ck_decisions_verdict")),
        sa.UniqueConstraint(*ONCE, name=op.f("uq_decisions_once")),
    )
    op.create_table(
        "policies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", HASH, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
        sa.UniqueConstraint("sha256", name=op.f("uq_policies_sha256")),
    )
    op.create_table(
        "exports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("scorer_id", sa.Integer(), nullable=False),
        sa.Column("policy_id", sa.Integer(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", HASH, nullable=False),
        sa.Column("exported_by", sa.Text(), nullable=False),
        sa.Column("snapshot_at", sa.DateTime(timezone=True), nullable=False),
        moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_exports_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f("fk_exports_scorer_id_scorers")),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name=op.f("fk_exports_policy_id_policies")),
    )
    op.create_table(
        "exported",
        sa.Column("export_id", sa.Integer(), nullable=False),
        sa.Column("first_pk", sa.BigInteger(), nullable=False),
        sa.Column("last_pk", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("export_id", "first_pk", name=op.f("pk_exported")),
        sa.ForeignKeyConstraint(["export_id"], ["exports.id"], name=op.f("fk_exported_export_id_exports")),
        sa.CheckConstraint("last_pk >= first_pk", name=op.f("ck_exported_run")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("exported", "exports", "policies", "decisions"):
        op.drop_table(table)

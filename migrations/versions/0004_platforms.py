"""Labeling platforms: targets, and which of their tasks or records shows which sample."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def moment(name: str) -> sa.Column[object]:
    return sa.Column(name, MOMENT, nullable=False, server_default=sa.func.current_timestamp())


def upgrade() -> None:
    op.create_table(
        "targets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("hook_secret", sa.Text()),
        sa.Column("cursor", sa.Text()),
        sa.Column("scorer_id", sa.Integer()),
        sa.Column("shown", sa.Text()),
        sa.Column("show_after", MOMENT),
        sa.Column("front", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("trouble", sa.Text()),
        sa.Column("token", sa.CHAR(32)),
        sa.Column("leased_until", MOMENT),
        sa.Column("rung_at", MOMENT),
        sa.Column("looked_at", MOMENT),
        sa.Column("pulled_at", MOMENT),
        sa.Column("pushed_at", MOMENT),
        moment("connected_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_targets")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_targets_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name=op.f("fk_targets_scorer_id_scorers")),
        sa.UniqueConstraint("name", name=op.f("uq_targets_name")),
        sa.UniqueConstraint("platform", "url", "project", name=op.f("uq_targets_platform_url_project")),
        sa.CheckConstraint("(token IS NULL) = (leased_until IS NULL)", name=op.f("ck_targets_lease")),
    )
    op.create_table(
        "items",
        sa.Column("target_id", sa.Integer(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("sample_id", KEY, nullable=False),
        sa.Column("shown", sa.Text()),
        sa.Column("text_since", MOMENT),
        sa.Column("gone_at", MOMENT),
        moment("since"),
        sa.PrimaryKeyConstraint("target_id", "remote_id", name=op.f("pk_items")),
        sa.ForeignKeyConstraint(["target_id"], ["targets.id"], name=op.f("fk_items_target_id_targets")),
        sa.ForeignKeyConstraint(
            ["dataset_id", "sample_id"],
            ["samples.dataset_id", "samples.id"],
            name=op.f("fk_items_dataset_id_sample_id_samples"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_items_target_id_sample_id"), "items", ["target_id", "sample_id"])


def downgrade() -> None:
    op.drop_table("items")
    op.drop_table("targets")

"""Outgoing webhooks: who is told, of what, and the messages on their way; the files of watched folders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def moment(name: str) -> sa.Column[object]:
    return sa.Column(name, MOMENT, nullable=False, server_default=sa.func.current_timestamp())


def upgrade() -> None:
    op.create_table(
        "hooks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Integer()),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("trouble", sa.Text()),
        sa.Column("due_at", MOMENT),
        sa.Column("looked_at", MOMENT),
        sa.Column("delivered_at", MOMENT),
        moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hooks")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_hooks_dataset_id_datasets")),
        sa.CheckConstraint("tier IN ('critical', 'high', 'medium')", name=op.f("ck_hooks_tier")),
    )
    op.create_table(
        "messages",
        sa.Column("id", KEY, nullable=False),
        sa.Column("hook_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.ForeignKeyConstraint(["hook_id"], ["hooks.id"], name=op.f("fk_messages_hook_id_hooks")),
        sa.UniqueConstraint("name", name=op.f("uq_messages_name")),
    )
    op.create_index(op.f("ix_messages_hook_id_id"), "messages", ["hook_id", "id"])
    op.create_table(
        "announced",
        sa.Column("hook_id", sa.Integer(), nullable=False),
        sa.Column("sample_id", KEY, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        moment("announced_at"),
        sa.PrimaryKeyConstraint("hook_id", "sample_id", "state", name=op.f("pk_announced")),
        sa.ForeignKeyConstraint(["hook_id"], ["hooks.id"], name=op.f("fk_announced_hook_id_hooks")),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name=op.f("fk_announced_sample_id_samples")),
        sa.CheckConstraint("state IN ('scored', 'quarantined')", name=op.f("ck_announced_state")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "watched",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        moment("read_at"),
        sa.PrimaryKeyConstraint("dataset_id", "file", name=op.f("pk_watched")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_watched_dataset_id_datasets")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("watched", "announced", "messages", "hooks"):
        op.drop_table(table)

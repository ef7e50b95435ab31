"""The manifests of exports, and decisions in order of time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "manifests",
        sa.Column("export_id", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("export_id", name=op.f("pk_manifests")),
        sa.ForeignKeyConstraint(["export_id"], ["exports.id"], name=op.f("fk_manifests_export_id_exports")),
    )
    op.create_index(op.f("ix_decisions_decided_at_id"), "decisions", ["decided_at", "id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_decisions_decided_at_id"), "decisions")
    op.drop_table("manifests")

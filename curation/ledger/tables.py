"""The ledger's tables: the same definition for SQLite and Postgres.

datasets 1─n samples 1─n occurrences      what there is to train on, and every line it was read from
scorers  1─n scores n─1 samples           what each immutable scorer said; higher risk = riskier
scorers  1─n tallies    n─1 datasets      how many of these scores lie in which range of risk
scorers  1─n explanations, intervals n─1 samples   where a score comes from, and how firm it is
scorers  1─n quarantine n─1 samples       what a scorer could not score, and why
scorers  1─n backlog  n─1 datasets        ranges of samples a scorer has yet to go through, and who holds which
serving                                   scorers that the fleet scores everything with
workers, tokens                           who works on this ledger, and who may talk to its service
samples  1─n decisions                    what reviewers said of samples; a withdrawal is a row of its own
policies 1─n exports 1─n exported         what left, by which policy: runs of samples per export
exports  1─1 manifests                    what was sealed of it
datasets 1─n targets  1─n items           where reviewers work, and which of their tasks or records shows which sample
hooks    1─n messages, announced          who is told of new risky samples, what is on its way, what was announced
datasets 1─n watched                      files of watched folders, as they were when last read

What is known of samples is added and never rewritten, and so is what was decided and exported. The other
tables describe the present: `occurrences` (a line that changed points to its new sample), `quarantine`
(attempts so far), `tallies`, `backlog`, `serving`, `workers`, `tokens`, `targets` and `items`. A sample with a
score counts as scored even if a quarantine row from an earlier attempt is still there.
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
# The dataset comes first so that only the primary key begins with the scorer: Postgres, which thinks of a new
# scorer as having no scores until it renews its statistics, would look single samples up in either.
Index("ix_scores_review", scores.c.dataset_id, scores.c.scorer_id, scores.c.risk.desc(), scores.c.sample_id)

# Scores by cells of risk (see `cells`): counts that a rank can be had from without counting all scores.
tallies = Table(
    "tallies",
    metadata,
    Column("dataset_id", sa.Integer, ForeignKey("datasets.id"), primary_key=True),
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), primary_key=True),
    Column("cell", sa.Integer, primary_key=True),
    Column("n", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Where a score comes from, by token and by module, for those samples that somebody asked about.
explanations = Table(
    "explanations",
    metadata,
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), primary_key=True),
    Column("sample_id", Key, ForeignKey("samples.id"), primary_key=True),
    Column("body", sa.Text, nullable=False),
    _moment("created_at"),
)

# How far a risk moves when its directions are fitted to other draws of their anchors.
intervals = Table(
    "intervals",
    metadata,
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), primary_key=True),
    Column("sample_id", Key, ForeignKey("samples.id"), primary_key=True),
    Column("risk_low", sa.Double, nullable=False),
    Column("risk_high", sa.Double, nullable=False),
    Column("draws", sa.Integer, nullable=False),
    *(_finite(column) for column in ("risk_low", "risk_high")),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), primary_key=True),
    Column("sample_id", Key, ForeignKey("samples.id"), primary_key=True),
    Column("reason", sa.Text, nullable=False),
    Column("attempts", sa.Integer, nullable=False),
    _moment("last_at"),
)

# Together the ranges of a scorer cover every sample it has neither scored nor set aside. The one without an end
# also covers what is still to come. A row with a token is a lease, live until `leased_until`.
backlog = Table(
    "backlog",
    metadata,
    Column("id", Key, primary_key=True),
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), nullable=False),
    Column("dataset_id", sa.Integer, ForeignKey("datasets.id"), nullable=False),
    Column("first_pk", sa.BigInteger, nullable=False),
    Column("last_pk", sa.BigInteger),
    Column("priority", sa.Integer, nullable=False),
    Column("attempts", sa.Integer, nullable=False),
    Column("last_error", sa.Text),
    Column("token", sa.CHAR(32)),
    Column("host", sa.Text),
    Column("pid", sa.Integer),
    Column("leased_until", UtcTime()),
    CheckConstraint("last_pk IS NULL OR last_pk >= first_pk", name="range"),
    CheckConstraint("(token IS NULL) = (leased_until IS NULL)", name="lease"),
)
Index("ix_backlog_claim", backlog.c.scorer_id, backlog.c.priority.desc(), backlog.c.id)
Index(
    "uq_backlog_open_end",
    backlog.c.scorer_id,
    backlog.c.dataset_id,
    unique=True,
    sqlite_where=backlog.c.last_pk.is_(None),
    postgresql_where=backlog.c.last_pk.is_(None),
)

serving = Table(
    "serving",
    metadata,
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), primary_key=True),
    _moment("since"),
)

workers = Table(
    "workers",
    metadata,
    Column("name", sa.Text, primary_key=True),
    Column("device", sa.Text),
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id")),
    Column("samples_per_second", sa.Double),
    Column("trouble", sa.Text),
    _moment("started_at"),
    _moment("seen_at"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", sa.Integer, primary_key=True),
    Column("name", sa.Text, nullable=False, unique=True),
    Column("token_hash", Hash, nullable=False, unique=True),
    Column("scopes", sa.Text, nullable=False),
    _moment("created_at"),
    Column("revoked_at", UtcTime()),
)

# Everything that makes a decision is in its key: the same one read twice is one, and none hides another.
decisions = Table(
    "decisions",
    metadata,
    Column("id", Key, primary_key=True),
    Column("dataset_id", sa.Integer, nullable=False),
    Column("sample_id", Key, nullable=False),
    Column("content_hash", Hash, nullable=False),
    Column("verdict", sa.Text, nullable=False),
    Column("reviewer", sa.Text, nullable=False),
    Column("reason", sa.Text),
    Column("note", sa.Text),
    Column("source", sa.Text, nullable=False),
    Column("remote_id", sa.Text, nullable=False),
    Column("decided_at", UtcTime(), nullable=False),
    _moment("recorded_at"),
    ForeignKeyConstraint(["dataset_id", "sample_id"], ["samples.dataset_id", "samples.id"]),
    CheckConstraint("verdict IN ('approve', 'reject', 'withdraw')", name="verdict"),
    UniqueConstraint(
        "dataset_id", "sample_id", "reviewer", "decided_at", "verdict", "source", "remote_id",
        name="uq_decisions_once",
    ),
    Index(None, "decided_at", "id"),
)  # fmt: skip

policies = Table(
    "policies",
    metadata,
    Column("id", sa.Integer, primary_key=True),
    Column("sha256", Hash, nullable=False, unique=True),
    Column("body", sa.Text, nullable=False),
    _moment("created_at"),
)

exports = Table(
    "exports",
    metadata,
    Column("id", sa.Integer, primary_key=True),
    Column("dataset_id", sa.Integer, ForeignKey("datasets.id"), nullable=False),
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id"), nullable=False),
    Column("policy_id", sa.Integer, ForeignKey("policies.id"), nullable=False),
    Column("format", sa.Text, nullable=False),
    Column("counts", sa.Text, nullable=False),
    Column("manifest_sha256", Hash, nullable=False),
    Column("exported_by", sa.Text, nullable=False),
    Column("snapshot_at", UtcTime(), nullable=False),
    _moment("created_at"),
)

# What was sealed, byte for byte. Exports from before these were kept have only the hash.
manifests = Table(
    "manifests",
    metadata,
    Column("export_id", sa.Integer, ForeignKey("exports.id"), primary_key=True, autoincrement=False),
    Column("body", sa.Text, nullable=False),
)

# Samples of an export as runs of neighbouring numbers: a million rows that leave together are one row here.
exported = Table(
    "exported",
    metadata,
    Column("export_id", sa.Integer, ForeignKey("exports.id"), primary_key=True),
    Column("first_pk", sa.BigInteger, primary_key=True),
    Column("last_pk", sa.BigInteger, nullable=False),
    CheckConstraint("last_pk >= first_pk", name="run"),
    sqlite_with_rowid=False,
)

# A project or dataset on a labeling platform. `cursor` is how far its changes were read, in the platform's own terms;
# `shown` names the order it shows. With a token somebody is at it until `leased_until`.
targets = Table(
    "targets",
    metadata,
    Column("id", sa.Integer, primary_key=True),
    Column("name", sa.Text, nullable=False, unique=True),
    Column("platform", sa.Text, nullable=False),
    Column("dataset_id", sa.Integer, ForeignKey("datasets.id"), nullable=False),
    Column("url", sa.Text, nullable=False),
    Column("project", sa.Text, nullable=False),
    Column("options", sa.Text, nullable=False),
    Column("hook_secret", sa.Text),
    Column("cursor", sa.Text),
    Column("scorer_id", sa.Integer, ForeignKey("scorers.id")),
    Column("shown", sa.Text),
    Column("show_after", UtcTime()),
    Column("front", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("trouble", sa.Text),
    Column("token", sa.CHAR(32)),
    Column("leased_until", UtcTime()),
    Column("rung_at", UtcTime()),
    Column("looked_at", UtcTime()),
    Column("pulled_at", UtcTime()),
    Column("pushed_at", UtcTime()),
    _moment("connected_at"),
    UniqueConstraint("platform", "url", "project"),
    CheckConstraint("(token IS NULL) = (leased_until IS NULL)", name="lease"),
)

# `shown` holds the columns that the platform displays; `text_since` (the platform's clock) is set once the text of a
# task or record was changed there: what was decided before that was said of another text.
items = Table(
    "items",
    metadata,
    Column("target_id", sa.Integer, ForeignKey("targets.id"), primary_key=True),
    Column("remote_id", sa.Text, primary_key=True),
    Column("dataset_id", sa.Integer, nullable=False),
    Column("sample_id", Key, nullable=False),
    Column("shown", sa.Text),
    Column("text_since", UtcTime()),
    Column("gone_at", UtcTime()),
    _moment("since"),
    ForeignKeyConstraint(["dataset_id", "sample_id"], ["samples.dataset_id", "samples.id"]),
    Index(None, "target_id", "sample_id"),
    sqlite_with_rowid=False,
)

# Who is told of new risky samples. Nobody looks at a hook before `due_at`: an address that failed is left in peace,
# and while somebody is at it the others stay away. The secret is kept as it is, since messages are signed with it.
hooks = Table(
    "hooks",
    metadata,
    Column("id", sa.Integer, primary_key=True),
    Column("url", sa.Text, nullable=False),
    Column("dataset_id", sa.Integer, ForeignKey("datasets.id")),
    Column("tier", sa.Text, nullable=False),
    Column("secret", sa.Text, nullable=False),
    Column("failures", sa.Integer, nullable=False, server_default="0"),
    Column("trouble", sa.Text),
    Column("due_at", UtcTime()),
    Column("looked_at", UtcTime()),
    Column("delivered_at", UtcTime()),
    _moment("created_at"),
    CheckConstraint("tier IN ('critical', 'high', 'medium')", name="tier"),
)

# Messages that have not been accepted yet: a row is deleted once it has arrived.
messages = Table(
    "messages",
    metadata,
    Column("id", Key, primary_key=True),
    Column("hook_id", sa.Integer, ForeignKey("hooks.id"), nullable=False),
    Column("name", sa.Text, nullable=False, unique=True),
    Column("body", sa.Text, nullable=False),
    _moment("created_at"),
    Index(None, "hook_id", "id"),
)

announced = Table(
    "announced",
    metadata,
    Column("hook_id", sa.Integer, ForeignKey("hooks.id"), primary_key=True),
    Column("sample_id", Key, ForeignKey("samples.id"), primary_key=True),
    Column("state", sa.Text, primary_key=True),
    _moment("announced_at"),
    CheckConstraint("state IN ('scored', 'quarantined')", name="state"),
    sqlite_with_rowid=False,
)

# `state` says what a file was like when it was read to the end.
watched = Table(
    "watched",
    metadata,
    Column("dataset_id", sa.Integer, ForeignKey("datasets.id"), primary_key=True),
    Column("file", sa.Text, primary_key=True),
    Column("state", sa.Text, nullable=False),
    _moment("read_at"),
    sqlite_with_rowid=False,
)

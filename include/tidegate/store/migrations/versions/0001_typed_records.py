"""Typed records with history; knowledge of one stream at a time.

A store of this version may have no version table: it is older than that.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
json = sa.Text().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Create the fixed tables; each stream's own come with its first load."""
    _ledger()
    _quarantine()
    _knowledge()


def _ledger() -> None:
    op.create_table(
        "tidegate_stream",
        sa.Column("name", text, primary_key=True),
        sa.Column("watermark", sa.Text),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("reads", sa.BigInteger, nullable=False),
        sa.Column("observed_at", sa.Text),
        sa.Column("loaded_at", sa.Text),
        sa.Column("columns", sa.Text),
    )
    head = op.create_table(
        "tidegate_head",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0}])
    counts = (
        "pulled", "inserted", "updated", "deleted", "unchanged", "stale", "deduplicated",
        "quarantined",
    )  # fmt: skip
    op.create_table(
        "tidegate_run",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("stream", text, nullable=False),
        sa.Column("batch", text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("window_since", sa.Text),
        sa.Column("window_until", sa.Text),
        sa.Column("watermark_before", sa.Text),
        sa.Column("watermark_after", sa.Text),
        sa.Column("read", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
        sa.Column("cleaned", sa.Text, nullable=False),
        sa.Column("checks", sa.Text, nullable=False),
        sa.Column("committed_at", sa.Text, nullable=False),
        sa.UniqueConstraint("stream", "batch"),
    )


def _quarantine() -> None:
    op.create_table(
        "tidegate_quarantine",
        sa.Column("stream", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("source_hash", sa.BigInteger, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("row", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("held_at", sa.Text, nullable=False),
    )


def _knowledge() -> None:
    op.create_table(
        "entity",
        sa.Column("stream", text, primary_key=True),
        sa.Column("type", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("attributes", json, nullable=False),
        sa.Column("record", text, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("seq_from", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "attribute",
        sa.Column("stream", text, primary_key=True),
        sa.Column("type", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("name", text, primary_key=True),
        sa.Column("seq_to", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq_from", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Text),
    )
    op.create_table(
        "relation",
        sa.Column("stream", text, primary_key=True),
        sa.Column("type", text, primary_key=True),
        sa.Column("from_type", text, primary_key=True),
        sa.Column("to_type", text, primary_key=True),
        sa.Column("record", text, primary_key=True),
        sa.Column("seq_from", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq_to", sa.BigInteger, nullable=False),
        sa.Column("from_key", text, nullable=False),
        sa.Column("to_key", text, nullable=False),
    )
    op.create_index("relation_from", "relation", ["from_type", "from_key", "type"])
    op.create_index("relation_to", "relation", ["to_type", "to_key", "type"])

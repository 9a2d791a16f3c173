"""Leases with fences, loads in parts, and what a stream agreed on, asked and verified."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Change the fixed tables."""
    number = sa.Column("fence", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("tidegate_stream", number)
    for name in ("lease_owner", "bound", "memory", "agreed", "verified_through", "verified_at"):
        op.add_column("tidegate_stream", sa.Column(name, sa.Text))
    for name in ("lease_since", "lease_until"):
        op.add_column("tidegate_stream", sa.Column(name, text))
    _ledger()
    op.create_table(
        "tidegate_server",
        sa.Column("name", text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "tidegate_question",
        sa.Column("stream", text, primary_key=True),
        sa.Column("column", text, primary_key=True),
        sa.Column("kind", text, primary_key=True),
        sa.Column("type", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("asked_at", sa.Text, nullable=False),
        sa.Column("answered_at", sa.Text),
        sa.Column("answered_by", sa.Text),
    )
    _verifications()


def _ledger() -> None:
    """A pull has a line for each of its parts; what was loaded before had one part.

    Constraints without a name get one while SQLite copies the table, which then has none again.
    """
    named = {"uq": "tidegate_run_stream_batch_key"}
    with op.batch_alter_table("tidegate_run", naming_convention=named) as table:
        table.add_column(sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"))
        table.add_column(sa.Column("part", sa.Integer, nullable=False, server_default="1"))
        table.add_column(sa.Column("parts", sa.Integer, nullable=False, server_default="1"))
        table.add_column(sa.Column("bound", sa.Text))
        table.add_column(sa.Column("census", sa.Text))
        table.add_column(sa.Column("gone", sa.BigInteger, nullable=False, server_default="0"))
        table.drop_constraint("tidegate_run_stream_batch_key", type_="unique")
        table.create_unique_constraint(
            "tidegate_run_stream_batch_part_key", ["stream", "batch", "part"]
        )


def _verifications() -> None:
    counts = (
        "chunks", "rows_compared", "rows_listed", "differing", "repaired", "tombstoned", "touched",
    )  # fmt: skip
    op.create_table(
        "tidegate_verification",
        sa.Column("id", text, primary_key=True),
        sa.Column("stream", text, nullable=False),
        sa.Column("started_at", text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.Column("finished_at", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("repair", sa.Boolean, nullable=False),
        sa.Column("watermark", sa.Text),
        sa.Column("position", sa.Text),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in counts),
        sa.Column("note", sa.Text),
    )
    op.create_index(
        "tidegate_verification_stream", "tidegate_verification", ["stream", "started_at"]
    )

"""What arrived at a stream and cannot be asked for again, numbered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add a table, and the counter of each stream."""
    number = sa.Column("arrivals", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("tidegate_stream", number)
    op.create_table(
        "tidegate_arrival",
        sa.Column("stream", text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", text, nullable=False),
        sa.Column("body", sa.Text),
        sa.Column("at", text, nullable=False),
        sa.UniqueConstraint("stream", "id"),
    )

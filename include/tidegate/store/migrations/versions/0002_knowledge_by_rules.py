"""Knowledge by rules, over all streams; a ledger without gaps; a quarantine that is replayed.

The old knowledge goes: it is a function of the records, and the stream's next derivation draws it
anew from all of them by the mapping of its pipeline file, which no store of version 0001 knows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
json = sa.Text().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Change the fixed tables."""
    _ledger()
    op.add_column(
        "tidegate_quarantine", sa.Column("attempts", sa.Integer, nullable=False, server_default="1")
    )
    op.add_column("tidegate_quarantine", sa.Column("fate_seq", sa.BigInteger))
    op.create_table(
        "tidegate_subscription",
        sa.Column("name", text, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.Text, nullable=False),
    )
    for table in ("relation", "attribute", "entity"):
        op.drop_table(table)
    _mappings()
    _knowledge()


def _ledger() -> None:
    """Every commit gets its line, and no line is of an earlier time than the one before it.

    A load writes its line by the columns' names. So what still runs an older program, which knows
    nothing of versions, cannot commit any more.
    """
    op.execute("ALTER TABLE tidegate_run RENAME COLUMN read TO read_number")
    op.add_column(
        "tidegate_head", sa.Column("horizon", sa.BigInteger, nullable=False, server_default="0")
    )
    op.add_column("tidegate_head", sa.Column("committed_at", sa.Text))
    op.add_column("tidegate_run", sa.Column("source_columns", sa.Text))
    op.execute(_FILL)
    op.execute(_ORDER)
    op.execute(
        "UPDATE tidegate_head SET committed_at = (SELECT max(committed_at) FROM tidegate_run)"
    )


def _mappings() -> None:
    op.create_table(
        "tidegate_mapping",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stream", text, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("reached", text),
    )
    op.create_index("tidegate_mapping_stream", "tidegate_mapping", ["stream"])
    op.create_table(
        "tidegate_rule",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mapping", sa.Integer, nullable=False),
        sa.Column("stream", text, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("type", text, nullable=False),
        sa.Column("from_type", text),
        sa.Column("to_type", text),
        sa.Column("trust", sa.Integer, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
    )
    op.create_index("tidegate_rule_mapping", "tidegate_rule", ["mapping"])
    op.create_table(
        "tidegate_vocabulary",
        sa.Column("kind", text, primary_key=True),
        sa.Column("type", text, primary_key=True),
        sa.Column("name", text, primary_key=True),
        sa.Column("definition", sa.Text, nullable=False),
    )


def _knowledge() -> None:
    op.create_table(
        "entity",
        sa.Column("type", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("rule", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stub", sa.Boolean, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("attributes", json, nullable=False),
        sa.Column("outvoted", json),
        sa.Column("record", text),
        sa.Column("valid", sa.BigInteger),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "relation",
        sa.Column("rule", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("record", text, primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("from_key", text, nullable=False),
        sa.Column("to_key", text, nullable=False),
        sa.Column("qualifiers", json),
        sa.Column("outvoted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("valid", sa.BigInteger),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("relation_from", "relation", ["rule", "from_key"])
    op.create_index("relation_to", "relation", ["rule", "to_key"])


# A load that was found to be done already took a number and wrote no line.
_FILL = """
INSERT INTO tidegate_run (seq, stream, batch, run_id, attempt, mode, read_number, pulled,
  inserted, updated, deleted, unchanged, stale, deduplicated, quarantined, cleaned, checks,
  committed_at)
WITH RECURSIVE numbers(seq) AS (
  SELECT 1 UNION ALL SELECT seq + 1 FROM numbers
  WHERE seq < (SELECT seq FROM tidegate_head))
SELECT seq, '', 'none-' || seq, '', 1, 'none', 0, 0, 0, 0, 0, 0, 0, 0, 0, '[]', '[]', ''
FROM numbers WHERE seq <= (SELECT seq FROM tidegate_head)
AND seq NOT IN (SELECT seq FROM tidegate_run)
"""

# A number without a line of its own has the time of the line before.
_ORDER = """
UPDATE tidegate_run SET committed_at = ordered.moment
FROM (SELECT seq AS place, max(committed_at) OVER (ORDER BY seq) AS moment FROM tidegate_run)
  AS ordered
WHERE ordered.place = tidegate_run.seq AND tidegate_run.committed_at <> ordered.moment
"""

"""Every table of the store, once, for SQLite and PostgreSQL.

Control tables (``tidegate_*``) and the knowledge libraries (``entity``, ``relation``) are fixed;
each stream adds two typed tables of its own (:mod:`tidegate.store.record.records`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from tidegate.types import ColumnType

metadata = sa.MetaData()
text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_json = sa.Text().with_variant(JSONB(), "postgresql")

schema_table = sa.Table(
    "tidegate_schema",
    metadata,
    sa.Column("version_num", sa.String(32), primary_key=True),
)
stream_table = sa.Table(
    "tidegate_stream",
    metadata,
    sa.Column("name", text, primary_key=True),
    sa.Column("watermark", sa.Text),
    sa.Column("generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("reads", sa.BigInteger, nullable=False, default=0),
    sa.Column("observed_at", sa.Text),
    sa.Column("loaded_at", sa.Text),
    sa.Column("columns", sa.Text),
    sa.Column("layouts", sa.Text),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_since", text),
    sa.Column("lease_until", text),
    sa.Column("bound", sa.Text),
    sa.Column("memory", sa.Text),
    sa.Column("agreed", sa.Text),
    sa.Column("verified_through", sa.Text),
    sa.Column("verified_at", sa.Text),
    sa.Column("arrivals", sa.BigInteger, nullable=False, server_default="0"),
)
arrival_table = sa.Table(
    "tidegate_arrival",
    metadata,
    sa.Column("stream", text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", text, nullable=False),
    sa.Column("body", sa.Text),
    sa.Column("at", text, nullable=False),
    sa.UniqueConstraint("stream", "id"),
)
server_table = sa.Table(
    "tidegate_server",
    metadata,
    sa.Column("name", text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
)
question_table = sa.Table(
    "tidegate_question",
    metadata,
    sa.Column("stream", text, primary_key=True),
    sa.Column("column", text, primary_key=True),
    sa.Column("kind", text, primary_key=True),
    sa.Column("type", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked_at", sa.Text, nullable=False),
    sa.Column("answered_at", sa.Text),
    sa.Column("answered_by", sa.Text),
)
VERIFIED = (
    "chunks", "rows_compared", "rows_listed", "differing", "repaired", "tombstoned", "touched",
)  # fmt: skip
verification_table = sa.Table(
    "tidegate_verification",
    metadata,
    sa.Column("id", text, primary_key=True),
    sa.Column("stream", text, nullable=False),
    sa.Column("started_at", text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),
    sa.Column("finished_at", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("repair", sa.Boolean, nullable=False),
    sa.Column("watermark", sa.Text),
    sa.Column("position", sa.Text),
    *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in VERIFIED),
    sa.Column("note", sa.Text),
    sa.Index("tidegate_verification_stream", "stream", "started_at"),
)
head_table = sa.Table(
    "tidegate_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("horizon", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("committed_at", sa.Text),
)
COUNTS = (
    "pulled", "inserted", "updated", "deleted", "unchanged", "stale", "deduplicated", "quarantined",
)  # fmt: skip
run_table = sa.Table(
    "tidegate_run",
    metadata,
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
    sa.Column("read_number", sa.BigInteger, nullable=False),
    sa.Column("source_columns", sa.Text),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
    sa.Column("cleaned", sa.Text, nullable=False),
    sa.Column("checks", sa.Text, nullable=False),
    sa.Column("committed_at", sa.Text, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("part", sa.Integer, nullable=False, server_default="1"),
    sa.Column("parts", sa.Integer, nullable=False, server_default="1"),
    sa.Column("bound", sa.Text),
    sa.Column("census", sa.Text),
    sa.Column("gone", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("stream", "batch", "part"),
)
quarantine_table = sa.Table(
    "tidegate_quarantine",
    metadata,
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
    sa.Column("attempts", sa.Integer, nullable=False, server_default="1"),
    sa.Column("fate_seq", sa.BigInteger),
)
mapping_table = sa.Table(
    "tidegate_mapping",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stream", text, nullable=False),
    sa.Column("state", text, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("reached", text),
    sa.Index("tidegate_mapping_stream", "stream"),
)
rule_table = sa.Table(
    "tidegate_rule",
    metadata,
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
    sa.Index("tidegate_rule_mapping", "mapping"),
)
vocabulary_table = sa.Table(
    "tidegate_vocabulary",
    metadata,
    sa.Column("kind", text, primary_key=True),
    sa.Column("type", text, primary_key=True),
    sa.Column("name", text, primary_key=True),
    sa.Column("definition", sa.Text, nullable=False),
)
subscription_table = sa.Table(
    "tidegate_subscription",
    metadata,
    sa.Column("name", text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.Text, nullable=False),
)
entity_table = sa.Table(
    "entity",
    metadata,
    sa.Column("type", text, primary_key=True),
    sa.Column("key", text, primary_key=True),
    sa.Column("rule", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stub", sa.Boolean, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("attributes", _json, nullable=False),
    sa.Column("outvoted", _json),
    sa.Column("record", text),
    sa.Column("valid", sa.BigInteger),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
relation_table = sa.Table(
    "relation",
    metadata,
    sa.Column("rule", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("record", text, primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("from_key", text, nullable=False),
    sa.Column("to_key", text, nullable=False),
    sa.Column("qualifiers", _json),
    sa.Column("outvoted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("valid", sa.BigInteger),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Index("relation_from", "rule", "from_key"),
    sa.Index("relation_to", "rule", "to_key"),
)


def store_type(type: ColumnType) -> TypeEngine[Any]:
    """The database's type for a column. SQLite keeps exact numbers and times as text."""
    exact: dict[str, TypeEngine[Any]] = {
        "decimal": sa.Numeric(type.precision, type.scale),
        "numeric": sa.Numeric(),
        "date": sa.Date(),
        "time": sa.Time(),
        "datetime": sa.DateTime(),
        "timestamp": sa.DateTime(timezone=True),
    }
    if type.name in exact:
        return exact[type.name].with_variant(sa.Text(), "sqlite")
    plain: dict[str, TypeEngine[Any]] = {
        "bool": sa.Boolean(), "int16": sa.SmallInteger(), "int32": sa.Integer(),
        "int64": sa.BigInteger(), "float64": sa.Double(), "bytes": sa.LargeBinary(),
    }  # fmt: skip
    return plain.get(type.name, sa.Text())

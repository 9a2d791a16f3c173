"""Every table of the store, once, for SQLite and PostgreSQL.

Control tables (``tidegate_*``) and the knowledge libraries (``entity``, ``attribute``,
``relation``) are fixed; each stream adds two typed tables, ``<source>__<stream>`` with the current
version of every record and ``…__history`` with the superseded ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from tidegate.errors import ConfigError
from tidegate.pipeline.models import Load
from tidegate.types import Column, ColumnType

OPEN = 2**62
"""``seq_to`` of what still holds: a number rather than NULL keeps range predicates simple."""

metadata = sa.MetaData()
_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_json = sa.Text().with_variant(JSONB(), "postgresql")

stream_table = sa.Table(
    "tidegate_stream",
    metadata,
    sa.Column("name", _text, primary_key=True),
    sa.Column("watermark", sa.Text),
    sa.Column("generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("reads", sa.BigInteger, nullable=False, default=0),
    sa.Column("observed_at", sa.Text),
    sa.Column("loaded_at", sa.Text),
    sa.Column("columns", sa.Text),
)
head_table = sa.Table(
    "tidegate_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
COUNTS = (
    "pulled", "inserted", "updated", "deleted", "unchanged", "stale", "deduplicated", "quarantined",
)  # fmt: skip
run_table = sa.Table(
    "tidegate_run",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("stream", _text, nullable=False),
    sa.Column("batch", _text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("window_since", sa.Text),
    sa.Column("window_until", sa.Text),
    sa.Column("watermark_before", sa.Text),
    sa.Column("watermark_after", sa.Text),
    sa.Column("read", sa.BigInteger, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
    sa.Column("cleaned", sa.Text, nullable=False),
    sa.Column("checks", sa.Text, nullable=False),
    sa.Column("committed_at", sa.Text, nullable=False),
    sa.UniqueConstraint("stream", "batch"),
)
quarantine_table = sa.Table(
    "tidegate_quarantine",
    metadata,
    sa.Column("stream", _text, primary_key=True),
    sa.Column("key", _text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("source_hash", sa.BigInteger, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("row", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("held_at", sa.Text, nullable=False),
)
entity_table = sa.Table(
    "entity",
    metadata,
    sa.Column("stream", _text, primary_key=True),
    sa.Column("type", _text, primary_key=True),
    sa.Column("key", _text, primary_key=True),
    sa.Column("attributes", _json, nullable=False),
    sa.Column("record", _text, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("seq_from", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
attribute_table = sa.Table(
    "attribute",
    metadata,
    sa.Column("stream", _text, primary_key=True),
    sa.Column("type", _text, primary_key=True),
    sa.Column("key", _text, primary_key=True),
    sa.Column("name", _text, primary_key=True),
    sa.Column("seq_to", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq_from", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Text),
)
relation_table = sa.Table(
    "relation",
    metadata,
    sa.Column("stream", _text, primary_key=True),
    sa.Column("type", _text, primary_key=True),
    sa.Column("from_type", _text, primary_key=True),
    sa.Column("to_type", _text, primary_key=True),
    sa.Column("record", _text, primary_key=True),
    sa.Column("seq_from", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq_to", sa.BigInteger, nullable=False),
    sa.Column("from_key", _text, nullable=False),
    sa.Column("to_key", _text, nullable=False),
    sa.Index("relation_from", "from_type", "from_key", "type"),
    sa.Index("relation_to", "to_type", "to_key", "type"),
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


@dataclass(frozen=True)
class Records:
    """The two tables of one stream, and the stage beside them.

    data     business columns, in order
    refs     ``_ref_…`` column → the columns whose values it joins into an entity key
    marks    whether the stream marks duplicates (``_same``, ``_duplicate``)
    """

    stream: str
    data: tuple[Column, ...]
    refs: dict[str, tuple[str, ...]]
    marks: bool

    @property
    def current(self) -> str:
        """Table of current versions."""
        return self.stream.replace(".", "__")

    @property
    def history(self) -> str:
        """Table of superseded versions."""
        return f"{self.current}__history"

    @property
    def stage(self) -> str:
        """Temporary table of the increment being loaded."""
        return f"stage__{self.current}"

    @property
    def values(self) -> list[str]:
        """Columns that travel from stage to current to history."""
        names = [column.name for column in self.data] + list(self.refs)
        names += ["_key", "_token", "_hash", "_source_hash", "_deleted"]
        return names + (["_same"] if self.marks else [])


def plan(stream: str, columns: Sequence[Column], load: Load, marks: bool) -> Records:
    """Name the tables of *stream* and the key columns its mapping needs.

    Raises ConfigError when the mapping names a column that cleaning does not leave, or a data
    column's name is one of ours.
    """
    known = {column.name for column in columns}
    refs: dict[str, tuple[str, ...]] = {}
    ends = [(entity.type, entity.key) for entity in load.entities]
    for relation in load.relations:
        ends += [(end.type, end.key) for end in map(load.end, (relation.from_, relation.to))]
    for type_, key in ends:
        _require(stream, f"key of {type_}", key, known)
        refs["_ref_" + "_".join(key)] = key
    for entity in load.entities:
        _require(stream, f"attributes of {entity.type}", entity.named.values(), known)
    taken = sorted(known & (_OWN | set(refs)))
    if taken:
        raise ConfigError(
            f"{stream}: column {taken[0]!r} has a name that the store uses itself. "
            "Give it another one with the cleaning step 'rename'."
        )
    return Records(stream, tuple(columns), refs, marks)


_OWN = frozenset(
    {"_key", "_token", "_hash", "_source_hash", "_deleted", "_same", "_seq", "_seq_to",
     "_duplicate", "_n", "_action", "_held"}
)  # fmt: skip


def _require(stream: str, what: str, names: object, known: set[str]) -> None:
    for name in names:  # type: ignore[attr-defined]
        if name not in known:
            raise ConfigError(
                f"{stream}: load: {what} names column {name!r}, which is not there after cleaning. "
                f"Columns: {', '.join(sorted(known))}"
            )


def ensure(connection: Connection, records: Records) -> None:
    """Create the stream's tables, or add the columns they lack. Refuses a changed type."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(records.current):
        for table in _build(records):
            table.create(connection)
        return
    for name in (records.current, records.history):
        there = {column["name"] for column in inspector.get_columns(name)}
        for column in _columns(records):
            if column.name not in there:
                kind = column.type.compile(connection.dialect)
                quoted = connection.dialect.identifier_preparer.quote
                connection.exec_driver_sql(
                    f"ALTER TABLE {quoted(name)} ADD COLUMN {quoted(column.name)} {kind}"
                )
    for index in next(iter(_build(records))).indexes:
        index.create(connection, checkfirst=True)


def _columns(records: Records) -> list[sa.Column[Any]]:
    data: list[sa.Column[Any]] = [
        sa.Column(column.name, store_type(column.type)) for column in records.data
    ]
    refs: list[sa.Column[Any]] = [sa.Column(name, _text) for name in records.refs]
    own: list[sa.Column[Any]] = [
        sa.Column("_token", sa.BigInteger),
        sa.Column("_hash", sa.BigInteger),
        sa.Column("_source_hash", sa.BigInteger),
        sa.Column("_deleted", sa.Boolean),
        sa.Column("_same", _text),
        sa.Column("_seq", sa.BigInteger),
    ]
    return [*data, *refs, *own]


def _build(records: Records) -> list[sa.Table]:
    tables = sa.MetaData()
    current = sa.Table(
        records.current,
        tables,
        sa.Column("_key", _text, primary_key=True),
        *_columns(records),
        sa.Column("_duplicate", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    sa.Index(f"{records.current}__seq", current.c._seq)
    for name in records.refs:
        sa.Index(f"{records.current}_{name}", current.c[name])
    if records.marks:
        sa.Index(f"{records.current}__same", current.c._same)
    history = sa.Table(
        records.history,
        tables,
        sa.Column("_key", _text, primary_key=True),
        *_columns(records),
        sa.Column("_seq_to", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    sa.Index(f"{records.history}__seq_to", history.c._seq_to)
    return [current, history]

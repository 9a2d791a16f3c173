"""Every table of the store, once, for SQLite and PostgreSQL.

Control tables (``tidegate_*``) and the knowledge libraries (``entity``, ``attribute``,
``relation``) are fixed; each stream adds two typed tables, ``<source>__<stream>`` with the current
version of every record and ``…__history`` with the superseded ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.pipeline.models import Stream
from tidegate.types import Column, ColumnType

LONGEST = 63
"""Octets of a name in PostgreSQL."""
LONGEST_NAME = LONGEST - len("__history__seq_to")
OPEN = 2**62
"""``seq_to`` of what still holds: a number rather than NULL keeps range predicates simple."""

metadata = sa.MetaData()
text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_json = sa.Text().with_variant(JSONB(), "postgresql")

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
    sa.Column("read", sa.BigInteger, nullable=False),
    sa.Column("source_columns", sa.Text),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
    sa.Column("cleaned", sa.Text, nullable=False),
    sa.Column("checks", sa.Text, nullable=False),
    sa.Column("committed_at", sa.Text, nullable=False),
    sa.UniqueConstraint("stream", "batch"),
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


def current_name(stream: str) -> str:
    """The table of a stream's current versions."""
    return _short(stream.replace(".", "__"), LONGEST_NAME)


def ref_name(key: Sequence[str]) -> str:
    """The column that joins the values of *key* into one text; no two keys share it."""
    name = "_ref_" + "_".join(key)
    return _short(name if len(key) == 1 else name + "_" + _digest("\0".join(key)), LONGEST)


def index_name(table: str, column: str) -> str:
    """The index of a ``_ref_…`` column; both names together may be too long."""
    return _short(f"{table}_{column}", LONGEST)


def _short(name: str, longest: int) -> str:
    """PostgreSQL cuts names after 63 octets, and takes what is left for the same."""
    if len(name.encode()) <= longest:
        return name
    return name.encode()[: longest - 9].decode(errors="ignore") + "_" + _digest(name)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


@dataclass(frozen=True)
class Records:
    """The two tables of one stream, and the stage beside them.

    data     business columns, in order
    refs     ``_ref_…`` column → the columns whose values it joins into an entity key
    marks    whether the stream marks duplicates (``_same``, ``_duplicate``)
    gone     columns the tables still have and the stream no longer, once that is known
    """

    stream: str
    data: tuple[Column, ...]
    refs: dict[str, tuple[str, ...]]
    marks: bool
    gone: tuple[str, ...] = ()

    @property
    def current(self) -> str:
        """Table of current versions."""
        return current_name(self.stream)

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


def plan(name: str, columns: Sequence[Column], stream: Stream, marks: bool) -> Records:
    """Name the tables of *stream* and the key columns its mapping needs.

    Raises ConfigError when the stream names a column that cleaning does not leave, or a data
    column's name is one of ours.
    """
    known = {column.name for column in columns}
    load = stream.load
    refs: dict[str, tuple[str, ...]] = {}
    ends = [(entity.type, entity.key) for entity in load.entities]
    for relation in load.relations:
        ends += [(end.type, end.key) for end in map(load.end, (relation.from_, relation.to))]
    for type_, key in ends:
        _require(f"{name}: load: key of {type_}", key, known)
        refs[ref_name(key)] = key
    for entity in load.entities:
        _require(f"{name}: load: attributes of {entity.type}", entity.named.values(), known)
    if stream.deleted:
        _require(f"{name}: deleted:", [stream.deleted.column], known)
    taken = sorted(known & (_OWN | set(refs)))
    if taken:
        raise ConfigError(
            f"{name}: column {taken[0]!r} has a name that the store uses itself. "
            "Give it another one with the cleaning step 'rename'."
        )
    return Records(name, tuple(columns), refs, marks)


_OWN = frozenset(
    {"_key", "_token", "_hash", "_source_hash", "_deleted", "_same", "_seq", "_seq_to",
     "_duplicate", "_n", "_action", "_held"}
)  # fmt: skip


def _require(where: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f" There are: {', '.join(sorted(known))}."
            raise ConfigError(
                f"{where} names column {name!r}, which is not there after cleaning.{hint}"
            )

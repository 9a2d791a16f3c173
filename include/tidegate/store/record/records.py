"""The tables of one stream: their names, their columns, and what the stream's rows are keyed by.

``<source>__<stream>`` holds the current version of every record, ``…__history`` the versions that
reigned before or arrived too late to reign. Beside the data columns both have:

``_key``          the record's primary key as text
``_first``        the smallest order token that showed this content; ``_token`` the largest
``_hash``         64 bits of the content: data columns, ``_same``, ``_deleted``
``_source_hash``  64 bits of the row as the source had it, when it was last read so
``_deleted``      whether this version is a tombstone
``_duplicate``    whether the record repeats another one (``drop_duplicates``)
``_valid``        since when it is true in the world, µs since 1970 UTC; NULL: the source has none
``_same``         what ``drop_duplicates`` compares
``_seq``          the commit since which this version reigns; in history ``_seq_to``: until which
``_ref_…``        an entity's key, as text, made of the data columns
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.pipeline.models import Stream
from tidegate.types import TEMPORAL, Column

LONGEST = 63
"""Octets of a name in PostgreSQL."""
LONGEST_NAME = LONGEST - len("__history__seq_to")
RESERVED = frozenset(
    {"_key", "_first", "_token", "_hash", "_source_hash", "_deleted", "_duplicate", "_valid",
     "_same", "_seq", "_seq_to", "_action", "_place", "_held", "_rowid_"}
)  # fmt: skip
"""Names that no data column may have."""
UNKEYED = frozenset({"float64", "json"})
"""Types that have no one text, and so cannot be part of an entity's key."""


@dataclass(frozen=True)
class Records:
    """The two tables of one stream, and the stage beside them.

    data     business columns, in order
    refs     ``_ref_…`` column → the columns whose values it joins into an entity key
    marks    whether the stream marks duplicates (``_same``, ``_duplicate``)
    gone     columns the tables still have and the stream no longer, once that is known
    straight name of the stage, when it is no temporary table but may become the current one
    """

    stream: str
    data: tuple[Column, ...]
    refs: dict[str, tuple[str, ...]]
    marks: bool
    gone: tuple[str, ...] = ()
    straight: str = ""

    @property
    def current(self) -> str:
        """Table of current versions."""
        return current_name(self.stream)

    @property
    def history(self) -> str:
        """Table of all other versions."""
        return f"{self.current}__history"

    @property
    def stage(self) -> str:
        """Table of the increment being loaded: a temporary one, unless it is *straight*."""
        return self.straight or f"stage__{self.current}"

    @property
    def values(self) -> list[str]:
        """Columns that travel from stage to current to history; refs are made on the way."""
        own = ["_key", "_first", "_token", "_hash", "_source_hash", "_deleted", "_valid"]
        return [*(column.name for column in self.data), *own, *(["_same"] if self.marks else [])]


def current_name(stream: str) -> str:
    """The table of a stream's current versions."""
    return shortened(stream.replace(".", "__"), LONGEST_NAME)


def ref_name(key: Sequence[str]) -> str:
    """The column that joins the values of *key* into one text; no two keys share it."""
    name = "_ref_" + "_".join(key)
    return shortened(name if len(key) == 1 else name + "_" + _digest("\0".join(key)))


def index_name(table: str, column: str) -> str:
    """The index of one column of *table*; both names together may be too long."""
    return shortened(f"{table}_{column}")


def shortened(name: str, longest: int = LONGEST) -> str:
    """PostgreSQL cuts names after 63 octets, and takes what is left for the same."""
    if len(name.encode()) <= longest:
        return name
    return name.encode()[: longest - 9].decode(errors="ignore") + "_" + _digest(name)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def plan(name: str, columns: Sequence[Column], stream: Stream, marks: bool) -> Records:
    """Name the tables of *stream* and the key columns its mapping needs.

    Raises ConfigError when the stream names a column that cleaning does not leave, a key's column
    has no one text, or a data column's name is one of ours.
    """
    kinds = {column.name: column.type.name for column in columns}
    known = set(kinds)
    refs: dict[str, tuple[str, ...]] = {}
    for type_, key in stream.load.keyed():
        _require(f"{name}: load: key of {type_}", key, known)
        refs[ref_name(key)] = key
        for column in key:
            if kinds[column] in UNKEYED:
                raise ConfigError(
                    f"{name}: load: key of {type_} names column {column!r} of type "
                    f"{kinds[column]}, which has no one text. Convert it in clean: or declare it "
                    "under types: as decimal(p,s) or string."
                )
    for purpose, names in stream.load.columns():
        _require(f"{name}: load: {purpose}", names, known)
    for problem in stream.misfits({column.name: column.type for column in columns}):
        raise ConfigError(f"{name}: load: {problem}")
    if stream.deleted:
        _require(f"{name}: deleted:", [stream.deleted.column], known)
    if stream.valid_from:
        _require(f"{name}: valid_from:", [stream.valid_from], known)
        if kinds[stream.valid_from] not in TEMPORAL:
            raise ConfigError(
                f"{name}: valid_from: names column {stream.valid_from!r} of type "
                f"{kinds[stream.valid_from]}. Name a date, datetime or timestamp."
            )
    taken = sorted(known & (RESERVED | set(refs)))
    if taken:
        raise ConfigError(
            f"{name}: column {taken[0]!r} has a name that the store uses itself. "
            "Give it another one with the cleaning step 'rename'."
        )
    return Records(name, tuple(columns), refs, marks)


def _require(where: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f" There are: {', '.join(sorted(known))}."
            raise ConfigError(
                f"{where} names column {name!r}, which is not there after cleaning.{hint}"
            )

"""What differs between two commits: the versions that held at each, side by side."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.store.reading import asof, feed, versions
from tidegate.store.reading.answers import Change, Changes
from tidegate.store.reading.asof import Point
from tidegate.store.reading.feed import Place
from tidegate.store.reading.versions import LIVE, Tables


def diff(
    connection: Connection, tables: Tables, span: tuple[int, int], cursor: str, limit: int,
    rows: bool,
) -> Changes:  # fmt: skip
    """What became of the live records of one stream between the commits of *span*, by key.

    A record that changed and changed back does not differ. *cursor* is empty at first.
    """
    if limit < 1:
        raise ConfigError(f"limit: {limit} is too small; ask for one change or more.")
    first, last = (asof.resolve(connection, as_of_seq=seq) for seq in span)
    if first.seq > last.seq:
        raise ConfigError(f"diff: commit {first.seq} is after {last.seq}. Give the earlier first.")
    after = Place.parse(cursor).key if cursor else None
    found: list[Change] = []
    if tables.columns:
        columns = feed.paired(tables, rows)
        keys = _TOUCHED.format(current=tables.current, history=tables.history)
        if after is not None:
            keys = f"SELECT _key FROM ({keys}) AS touched WHERE _key > :after"
        text = _DIFFER.format(
            columns=", ".join(["k._key", *list(feed.selected(columns))[1:]]),
            before=_at(tables, first, "first", keys),
            after=_at(tables, last, "last", keys),
            keys=keys,
        )
        bound = {"first": first.seq, "last": last.seq, "after": after, "limit": limit + 1}
        differing = versions.rows(connection, text, columns, bound)
        found = [feed.change(tables, row, last.seq, rows) for row in differing]
    more = len(found) > limit
    found = found[:limit]
    place = Place(last.seq, found[-1].key) if more else Place(last.seq)
    return Changes(last.seq, tuple(found), place.text, more)


def _at(tables: Tables, point: Point, side: str, keys: str) -> str:
    names = [*versions.OWN, *(column.name for column in tables.columns)]
    text = versions.holding(
        tables, Point(point.seq, -1), names, _AMONG.format(live=LIVE, keys=keys)
    )
    return text.replace(":seq", f":{side}")


_AMONG = "{live} AND _key IN ({keys})"

_TOUCHED = """
    SELECT _key FROM {current} WHERE _seq > :first AND _seq <= :last
    UNION SELECT _key FROM {history} WHERE _seq > :first AND _seq <= :last
    UNION SELECT _key FROM {history} WHERE _seq_to > :first AND _seq_to <= :last"""


_DIFFER = """
SELECT {columns} FROM ({keys}) AS k
LEFT JOIN ({before}) AS b ON b._key = k._key
LEFT JOIN ({after}) AS c ON c._key = k._key
WHERE coalesce(b._hash, 0) <> coalesce(c._hash, 0) OR (b._hash IS NULL) <> (c._hash IS NULL)
ORDER BY k._key LIMIT :limit
"""

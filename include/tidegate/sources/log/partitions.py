"""The partitions of a PostgreSQL table, as far as its log does not tell of them.

Rows of a partition are in the log as those of its table. That a partition is dropped, detached,
attached or truncated is not. So a position has a mark of each: made of its identity, its file, and
the transaction that attached it; and two positions tell what became of them.

One that is new was created as a partition if the transaction that attached it created it, and then
all of its rows are in the log. Another brought its rows along, unless it is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

MARKS = sa.text(
    "SELECT left(md5(concat_ws(' ', p.relid::oid, pg_relation_filenode(p.relid), i.xmin)), 12),"
    " a.xmin = i.xmin OR (p.isleaf AND pg_relation_size(p.relid) = 0)"
    " FROM pg_partition_tree(CAST(CAST(:table AS oid) AS regclass)) p"
    " JOIN pg_inherits i ON i.inhrelid = p.relid"
    " JOIN pg_attribute a ON a.attrelid = p.relid AND a.attname = 'tableoid' AND a.attnum < 0"
    " WHERE p.level > 0 ORDER BY 1"
)
"""Each one's mark, and whether it brought no rows when it came."""


def difference(before: Iterable[str], now: Mapping[str, bool]) -> str | None:
    """What became of the partitions that the log does not tell; *now* by :data:`MARKS`."""
    known = set(before)
    if known - now.keys():
        return "a partition was dropped, detached, truncated or rewritten."
    if not all(bare for mark, bare in now.items() if mark not in known):
        return "a partition was attached that had rows."
    return None

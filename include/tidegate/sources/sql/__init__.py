"""Tables of MySQL and MariaDB, PostgreSQL, SQLite.

Typed pages by keyset, from a read-only session that disturbs nobody.

From the source inwards::

    reading    the source: what a run, a repair and a comparison ask for
    snapshot   the same where nothing orders changes: all of it, every time
    slices     which parts of the table a run reads
    lookup     rows by the texts of their keys
    chunks     ranges of keys, counted and hashed by the server
    plan       what is fetched of the table, and how it is sorted
    rowhash    a row's hash, computed by its database
    keyset     the queries of one slice, page by page
    position   key values, kept between two runs
    pressure   waits while the source is busy
    page       what was fetched → an Arrow page with bookkeeping
    fetched    the answer to one query, by rows or by columns
    texts      columns of a server's texts → Arrow; wire: by MySQL's protocol, copied: by COPY
    bounds     how far the stream is complete
    parts      rows that came by a statement which wrote none
    moments    times as a column holds them, and as a watermark keeps them
    catalogue  tables, columns, indexes, and what a stream misses there; pgcatalogue: PostgreSQL's
    session    one read-only connection; its driver's errors end here
    dialect    what differs between servers: mysql, postgres, sqlite
    loaders    PostgreSQL's values that Python has no words for
    options    what a stream may say
    discovery  what streams there could be
    watching   the newest of every table, by one statement
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate.pipeline.kinds import Kind, Proposal
from tidegate.sources.sql.options import SqlSettings, SqlStream

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources import Lookout, Source


def _open(endpoint: Endpoint, stream: SqlStream, name: str) -> Source:
    from tidegate.sources.sql.reading import SqlSource
    from tidegate.sources.sql.snapshot import Snapshot

    return (Snapshot if stream.snapshot else SqlSource)(endpoint, stream, name)


def _discover(endpoint: Endpoint) -> Iterator[Proposal]:
    from tidegate.sources.sql.discovery import proposals

    return proposals(endpoint)


def _watch(endpoint: Endpoint) -> Lookout:
    from tidegate.sources.sql.watching import SqlLookout

    return SqlLookout(endpoint)


KIND = Kind(
    "sql", SqlStream, SqlSettings, ("mysql", "postgres", "sqlite"), _open, _discover, _watch
)

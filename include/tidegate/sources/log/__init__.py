"""The log of a database: MySQL's and MariaDB's binary log, PostgreSQL's logical decoding.

Every insert, update and delete of one table, whole transactions only, in the order of their
commits. No cursor is needed, and deletions arrive by themselves.

From the source inwards::

    reading    the source: first the table as it is, then what the log tells of it
    table      the table behind the log: its rows, and the log's rows read as it would read its own
    feed       what both logs have in common: positions and changes
    binlog     MySQL and MariaDB: the binary log
    server       where it ends
    replica      its events, through mysql-replication
    settings     what the server has to be told before
    rowevents    those that change rows of the table
    rowimage     the octets of one row there
    statements   what statements in it do to the table
    gtids        the names of its transactions
    decoding   PostgreSQL: a replication slot
    publishing   what the server has to be told before
    partitions   what became of the table's partitions
    pgoutput     the messages of its plugin
    transactions   what they make of the table's keys
    options    what a stream may say
    watching   where the log ends, for all streams at once
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.pipeline.kinds import Kind
from tidegate.sources.log.options import LogSettings, LogStream

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources import Lookout, Source


def _open(endpoint: Endpoint, stream: LogStream, name: str) -> Source:
    from tidegate.sources.log.reading import LogSource

    return LogSource(endpoint, stream, name)


def _watch(endpoint: Endpoint) -> Lookout:
    from tidegate.sources.log.watching import LogLookout

    return LogLookout(endpoint)


KIND = Kind("log", LogStream, LogSettings, ("mysql", "postgres"), _open, watch=_watch)

"""Is the store what the source says? Row by row, by key and by hash of the source's own cells.

The source is read again from the first row; each row's key and hash must be in the store, loaded or
in quarantine. Both lists go into a temporary SQLite file, so memory stays bounded however many rows
there are. Rows that change while the comparison reads show up as differences: compare a source at
rest, or look twice.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate import drift
from tidegate.job import Job
from tidegate.model import Mode

if TYPE_CHECKING:
    from tidegate.sources import Source


@dataclass(frozen=True, slots=True)
class Comparison:
    """Row counts. *missing* are in the source only, *extra* in the store only, *stale* differ."""

    stream: str
    source_rows: int
    matched: int
    held: int
    missing: int
    stale: int
    extra: int
    examples: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Every source row is loaded or in quarantine as it is now, and nothing else is loaded."""
        return not (self.missing or self.stale or self.extra)


def compare(job: Job) -> Comparison:
    """Compare one stream, by the columns that it agreed on.

    Raises DriftError when ``drift:`` says to stop at those that the table has now.
    """
    from tidegate.sources import open_source

    with (
        tempfile.TemporaryDirectory(prefix="tidegate-compare-") as folder,
        closing(sqlite3.connect(Path(folder) / "rows.db", isolation_level=None)) as rows,
    ):
        rows.executescript(_TABLES)
        with job.store() as store:
            with open_source(job.endpoint(), job.stream, job.full_name) as source:
                source.adopt(drift.judge(job, store, source, Mode.REPAIR).read)
                _fill(rows, "source", _of_source(source))
            _fill(rows, "store", store.keys(job.full_name))
        return _verdict(rows, job.full_name)


def _of_source(source: Source) -> Iterator[tuple[str, int, str]]:
    from tidegate.store.quarantine import key_of

    for page in source.scan():
        keys, hashes = page.column("_key").to_pylist(), page.column("_source_hash").to_pylist()
        for key, hash_ in zip(keys, hashes, strict=True):
            yield key_of(key, hash_), hash_, "source"


def _fill(rows: sqlite3.Connection, table: str, values: Iterator[tuple[str, int, str]]) -> None:
    rows.execute("BEGIN")
    rows.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", values)
    rows.execute("COMMIT")


def _verdict(rows: sqlite3.Connection, stream: str) -> Comparison:
    def number(query: str) -> int:
        return int(rows.execute(query).fetchone()[0])

    examples = tuple(f"{what} {key}" for what, key in rows.execute(_EXAMPLES))
    return Comparison(
        stream,
        number("SELECT count(*) FROM source"),
        number(f"SELECT count(*) FROM source s WHERE {_LOADED}"),
        number(f"SELECT count(*) FROM source s WHERE NOT {_LOADED} AND {_HELD}"),
        number(f"SELECT count(*) FROM source s WHERE {_MISSING}"),
        number(f"SELECT count(*) FROM source s WHERE {_STALE}"),
        number(f"SELECT count(*) FROM store s WHERE {_EXTRA}"),
        examples,
    )


_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE source (key TEXT, hash INTEGER, what TEXT);
CREATE TABLE store (key TEXT, hash INTEGER, what TEXT);
CREATE INDEX store_key ON store (key, what, hash);
CREATE INDEX source_key ON source (key);
"""
_LOADED = (
    "EXISTS (SELECT 1 FROM store t WHERE t.key = s.key AND t.hash = s.hash AND t.what = 'record')"
)
_HELD = "EXISTS (SELECT 1 FROM store t WHERE t.key = s.key AND t.hash = s.hash AND t.what = 'held')"
_KNOWN = "EXISTS (SELECT 1 FROM store t WHERE t.key = s.key)"
_MISSING = f"NOT {_LOADED} AND NOT {_HELD} AND NOT {_KNOWN}"
_STALE = f"NOT {_LOADED} AND NOT {_HELD} AND {_KNOWN}"
_EXTRA = "s.what = 'record' AND NOT EXISTS (SELECT 1 FROM source o WHERE o.key = s.key)"
_EXAMPLES = f"""
SELECT * FROM (SELECT 'missing', key FROM source s WHERE {_MISSING} LIMIT 4)
UNION ALL SELECT * FROM (SELECT 'stale', key FROM source s WHERE {_STALE} LIMIT 4)
UNION ALL SELECT * FROM (SELECT 'extra', key FROM store s WHERE {_EXTRA} LIMIT 4)
"""

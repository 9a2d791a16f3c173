"""Whether a stream's records are in order: what was loaded, one version reigning at a time (I5).

Order, keys and marks are asked of the database in a few statements. Content is hashed again page by
page: a row is what was loaded when it gives its hash by one of the layouts its stream ever had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.store import frames, keytext, layouts, mapping
from tidegate.store.layouts import Layout
from tidegate.store.records import current_name, ref_name
from tidegate.store.sqltext import quoted
from tidegate.store.violations import RECORD, Look, Thing, Violation
from tidegate.types import Column

OPEN = 2**62
"""Stands for the end of a reign that has not ended."""


def check(look: Look, stream: str) -> Iterator[Violation]:
    """I5 of *stream*."""
    current = current_name(stream)
    if not stream or not look.has(current):
        return
    for query, problem in ORDER.items():
        for (key,) in look.rows(query, names_of(stream), open=OPEN):
            yield Violation("I5", stream, Thing(RECORD, "", key), problem)
    for table in (current, f"{current}__history"):
        for _, key, problem in wrong_contents(look, stream, table):
            yield Violation("I5", stream, Thing(RECORD, "", key), problem)
        for ref, expression in expected_refs(look, stream).items():
            names = {"table": table, "ref": ref}
            for (key,) in look.rows(_REF.replace("{key}", escaped(expression)), names):
                problem = f"has another {ref} than its columns say."
                yield Violation("I5", stream, Thing(RECORD, "", key), problem)
    if marks_duplicates(look, stream):
        for (key,) in look.rows(WRONG_MARKS, names_of(stream)):
            problem = "is marked as a duplicate and is none, or the other way round."
            yield Violation("I5", stream, Thing(RECORD, "", key), problem)


def names_of(stream: str) -> dict[str, str]:
    """Names of the stream's tables, for templates."""
    return {"current": current_name(stream), "history": f"{current_name(stream)}__history"}


def marks_duplicates(look: Look, stream: str) -> bool:
    """Whether the stream marks duplicates now; of one that no longer does, old marks stay."""
    return any(layout.same for layout in layouts.known(look.connection, stream)[:1])


def expected_refs(look: Look, stream: str) -> Mapping[str, str]:
    """``_ref_…`` column → SQL of what it must be in a row of ``t``, by the mappings in force."""
    columns = {one.name: one for one in frames.columns_of(look.connection, stream)}
    dialect = look.connection.dialect.name
    keys = {key for one in mapping.projected(look.connection, stream) for key in one.keys}
    return {ref_name(key): keytext.key(dialect, columns, key, "t") for key in sorted(keys)}


def escaped(expression: str) -> str:
    """*expression* as a piece of a template: braces in a column's name are no place to fill."""
    return expression.replace("{", "{{").replace("}", "}}")


def wrong_contents(look: Look, stream: str, table: str) -> Iterator[tuple[int, str, str]]:
    """``(hash, key, problem)`` of the rows of *table* that are not what was loaded.

    A *problem* about the valid time leaves the content as it must be.
    """
    known = layouts.known(look.connection, stream)
    data = frames.columns_of(look.connection, stream)
    own = frames.own("_key", "_hash", "_deleted", "_valid", "_same")
    if not any(layout.same for layout in known):
        own.pop()
    where, values = "true", {}
    if look.sample is not None:
        chosen = quoted(table).replace(":", "\\:")
        where = f"_key IN (SELECT _key FROM {chosen} ORDER BY random() LIMIT :sample)"
        values = {"sample": look.sample}
    for page in frames.pages(look.connection, table, [*data, *own], where, values):
        content, valid = _judge(page, known, data)
        for row in pc.indices_nonzero(pc.invert(pc.and_(content, valid))).to_pylist():
            problem = (
                "has another valid time than its columns say."
                if content[row].as_py()
                else "has a content that was never loaded: it does not give its hash."
            )
            yield page.column("_hash")[row].as_py(), page.column("_key")[row].as_py(), problem


def _judge(page: pa.Table, known: list[Layout], data: list[Column]) -> tuple[pa.Array, pa.Array]:
    """Which rows have the content of their hash by some layout; and, by such a one, their time."""
    no = pa.array([False] * page.num_rows)
    content, valid = no, no
    for layout in known:
        if pc.all(pc.and_(content, valid)).as_py():
            break
        right = pc.and_(
            pc.equal(layout.hashes(layout.restored(page)), page.column("_hash").combine_chunks()),
            _empty_beside(page, layout, data),
        )
        dated = _same_cells(layout.moments(page), page.column("_valid"))
        content = pc.or_(content, right)
        valid = pc.or_(valid, pc.and_(right, dated))
    return content, pc.or_(valid, pc.invert(content))


def _empty_beside(page: pa.Table, layout: Layout, data: list[Column]) -> pa.Array:
    """Which rows have nothing in the columns that *layout* does not know."""
    names = {column.name for column in layout.columns}
    empty = pa.array([True] * page.num_rows)
    for column in data:
        if column.name not in names:
            empty = pc.and_(empty, pc.is_null(page.column(column.name)).combine_chunks())
    return empty


def _same_cells(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.Array:
    equal = pc.fill_null(pc.equal(one, other), False)
    both = pc.and_(pc.is_null(one), pc.is_null(other))
    return pc.or_(equal, both).combine_chunks()


_HEADLESS = """
SELECT DISTINCT h._key FROM {history} AS h
WHERE NOT EXISTS (SELECT 1 FROM {current} AS c WHERE c._key = h._key)
"""

_OUTDONE = """
SELECT DISTINCT c._key FROM {current} AS c JOIN {history} AS h ON h._key = c._key
WHERE (h._token, h._hash) > (c._token, c._hash)
"""

_TURNED = """
SELECT _key FROM {current} WHERE _first > _token
UNION SELECT _key FROM {history} WHERE _first > _token
"""

_REIGNS = """
SELECT DISTINCT _key FROM (
  SELECT _key, _seq_to, lead(_seq) OVER (PARTITION BY _key ORDER BY _seq, _seq_to) AS next
  FROM (SELECT _key, _seq, _seq_to FROM {history} WHERE _seq <> _seq_to
        UNION ALL SELECT _key, _seq, :open FROM {current}) AS every
) AS reign WHERE next <> _seq_to
UNION SELECT _key FROM {history} WHERE _seq > _seq_to
"""

ORDER = {
    _HEADLESS: "has a history, but no version that reigns.",
    _OUTDONE: "has a version in its history that is newer than the one that reigns.",
    _TURNED: "was first seen after it was last seen.",
    _REIGNS: "has reigns that overlap, or that leave a gap.",
}
"""What finds the keys of records that are out of order, and how they are."""

_REF = "SELECT t._key FROM {table} AS t WHERE t.{ref} IS DISTINCT FROM ({key})"

WRONG_MARKS = """
SELECT c._key FROM {current} AS c LEFT JOIN (
  SELECT _key, row_number() OVER (PARTITION BY _same ORDER BY length(_key), _key) > 1 AS again
  FROM {current} WHERE _deleted = false AND _same IS NOT NULL
) AS ranked ON ranked._key = c._key
WHERE c._duplicate <> coalesce(ranked.again, false)
"""

"""Whether a stream's records are in order: what was loaded, one version reigning at a time (I5).

Order, keys and marks are asked of the database in a few statements. Content is hashed again page by
page: a row is what was loaded when it gives its hash by one of the layouts its stream ever had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.store.checks.violations import RECORD, Look, Thing, Violation
from tidegate.store.knowledge import mapping
from tidegate.store.knowledge.mapping import ACTIVE
from tidegate.store.record import frames, keytext, layouts
from tidegate.store.record.layouts import Layout
from tidegate.store.record.records import current_name, ref_name
from tidegate.store.sqltext import quoted
from tidegate.types import Column

OPEN = 2**62
"""Stands for the end of a reign that has not ended."""


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A row of *table* that is not what was loaded.

    Its *content* does not give its hash; or it does, and only ``_valid`` is not *moment*.
    """

    table: str
    key: str
    hash: int
    seq_to: int | None
    content: bool
    moment: int | None


def check(look: Look, stream: str) -> Iterator[Violation]:
    """I5 of *stream*."""
    names = names_of(stream)
    if not stream or not look.has(names["current"]):
        return
    for key, problem in _problems(look, stream, names):
        look.spoiled.add((stream, key))
        yield Violation("I5", stream, Thing(RECORD, "", key), problem)


def _problems(look: Look, stream: str, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """``(key, problem)`` of each record; marks are looked at when the records are in order."""
    for table in names.values():
        for row in spoiled(look, stream, table, _sample(look, table)):
            yield (
                row.key,
                "has a content that was never loaded: it does not give its hash."
                if row.content
                else "has another valid time than its columns say.",
            )
        for ref, wrong in wrong_refs(look, stream).items():
            query = f"SELECT t._key FROM {{table}} AS t WHERE {wrong}"
            for (key,) in look.rows(query, {"table": table}):
                yield key, f"has another {ref} than its columns say."
    for query, problem in ORDER.items():
        for (key,) in look.rows(query, names, open=OPEN):
            yield key, problem
    in_order = all(of != stream for of, _ in look.spoiled)
    if in_order and marks_duplicates(look, stream):
        for (key,) in look.rows(WRONG_MARKS, names):
            yield key, "is marked as a duplicate and is none, or the other way round."


def names_of(stream: str) -> dict[str, str]:
    """Names of the stream's tables, for templates."""
    return {"current": current_name(stream), "history": f"{current_name(stream)}__history"}


def marks_duplicates(look: Look, stream: str) -> bool:
    """Whether the stream marks duplicates now; of one that no longer does, old marks stay."""
    return any(layout.same for layout in layouts.known(look.connection, stream)[:1])


def wrong_refs(look: Look, stream: str) -> Mapping[str, str]:
    """``_ref_…`` column → SQL that finds the rows of ``t`` in which it is not what it must be."""
    return {
        ref: f"t.{template(ref)} IS DISTINCT FROM ({wanted})"
        for ref, wanted in expected_refs(look, stream).items()
    }


def expected_refs(look: Look, stream: str) -> Mapping[str, str]:
    """``_ref_…`` column → SQL of what it must be in a row of ``t``, by the mapping that is read."""
    columns = {one.name: one for one in frames.columns_of(look.connection, stream)}
    dialect = look.connection.dialect.name
    rules = [one for one in mapping.projected(look.connection, stream) if one.state == ACTIVE]
    keys = {key for one in rules for key in one.keys}
    return {
        ref_name(key): _unfilled(keytext.key(dialect, columns, key, "t")) for key in sorted(keys)
    }


def template(name: str) -> str:
    """*name*, quoted, for a template: neither its colons nor its braces are places to fill."""
    return _unfilled(quoted(name).replace(":", "\\:"))


def _unfilled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _sample(look: Look, table: str) -> str:
    """A condition on as many random rows of *table* as the look samples."""
    if look.sample is None:
        return "true"
    name = quoted(table).replace(":", "\\:")
    return f"_key IN (SELECT _key FROM {name} ORDER BY random() LIMIT {look.sample:d})"


def spoiled(look: Look, stream: str, table: str, where: str) -> Iterator[Spoiled]:
    """The rows of *table* that are not what was loaded, among those that meet *where*."""
    known = layouts.known(look.connection, stream)
    data = frames.columns_of(look.connection, stream)
    own = ["_key", "_hash", "_deleted", "_valid"]
    own += ["_same"] if any(layout.same for layout in known) else []
    own += ["_seq_to"] if table == names_of(stream)["history"] else []
    for page in frames.pages(look.connection, table, [*data, *frames.own(*own)], where):
        right, moments = _judge(page, known, data)
        dated = _same_cells(moments, page.column("_valid"))
        wrong = pc.invert(pc.and_(right, dated))
        picked = page.append_column("_right", right).append_column("_moment", moments).filter(wrong)
        for row in picked.select([n for n in picked.column_names if n[0] == "_"]).to_pylist():
            yield _spoiled(table, row)


def _spoiled(table: str, row: dict[str, Any]) -> Spoiled:
    return Spoiled(
        table, row["_key"], row["_hash"], row.get("_seq_to"), not row["_right"], row["_moment"]
    )


def _judge(page: pa.Table, known: list[Layout], data: list[Column]) -> tuple[pa.Array, pa.Array]:
    """Which rows have the content of their hash by some layout; and their times by such a one."""
    right = pa.array([False] * page.num_rows)
    dated, moments = right, pa.nulls(page.num_rows, pa.int64())
    for layout in known:
        if pc.all(pc.and_(right, dated)).as_py():
            break
        hashes = layout.hashes(layout.restored(page))
        same = pc.equal(hashes, page.column("_hash").combine_chunks())
        mine = pc.and_(same, _empty_beside(page, layout, data))
        times = layout.moments(page).combine_chunks()
        fits = pc.and_(mine, _same_cells(times, page.column("_valid")))
        news = pc.or_(pc.and_(mine, pc.invert(right)), pc.and_(fits, pc.invert(dated)))
        moments = pc.if_else(news, times, moments)
        right, dated = pc.or_(right, mine), pc.or_(dated, fits)
    return right, moments


def _empty_beside(page: pa.Table, layout: Layout, data: list[Column]) -> pa.Array:
    """Which rows have nothing in the columns that *layout* does not know."""
    names = {column.name for column in layout.columns}
    empty = pa.array([True] * page.num_rows)
    for column in data:
        if column.name not in names:
            empty = pc.and_(empty, pc.is_null(page.column(column.name)).combine_chunks())
    return empty


def _same_cells(one: pa.Array, other: pa.ChunkedArray) -> pa.Array:
    other = other.combine_chunks()
    equal = pc.fill_null(pc.equal(one, other), False)
    return pc.or_(equal, pc.and_(pc.is_null(one), pc.is_null(other)))


HEADLESS = """
SELECT DISTINCT h._key FROM {history} AS h
WHERE NOT EXISTS (SELECT 1 FROM {current} AS c WHERE c._key = h._key)
"""

OUTDONE = """
SELECT DISTINCT c._key FROM {current} AS c JOIN {history} AS h ON h._key = c._key
WHERE (h._token, h._hash) > (c._token, c._hash)
"""

_TURNED = """
SELECT _key FROM {current} WHERE _first > _token
UNION SELECT _key FROM {history} WHERE _first > _token
"""

BROKEN = """
SELECT DISTINCT _key FROM (
  SELECT _key, _seq_to, lead(_seq) OVER (PARTITION BY _key ORDER BY _seq, _seq_to) AS next
  FROM (SELECT _key, _seq, _seq_to FROM {history} WHERE _seq <> _seq_to
        UNION ALL SELECT _key, _seq, :open FROM {current}) AS every
) AS reign WHERE next <> _seq_to
UNION SELECT _key FROM {history} WHERE _seq > _seq_to
"""

ORDER = {
    HEADLESS: "has a history, but no version that reigns.",
    OUTDONE: "has a version in its history that is newer than the one that reigns.",
    _TURNED: "was first seen after it was last seen.",
    BROKEN: "has reigns that overlap, or that leave a gap.",
}
"""What finds the keys of records that are out of order, and how they are."""

WRONG_MARKS = """
SELECT c._key FROM {current} AS c LEFT JOIN (
  SELECT _key, row_number() OVER (PARTITION BY _same ORDER BY length(_key), _key) > 1 AS again
  FROM {current} WHERE _deleted = false AND _same IS NOT NULL
) AS ranked ON ranked._key = c._key
WHERE c._duplicate <> coalesce(ranked.again, false)
"""

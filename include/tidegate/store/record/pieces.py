"""Pieces of the merge's SQL: what depends on a stream's columns, and on the database."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.store.record import keytext, staging
from tidegate.store.record.records import Records
from tidegate.store.sqltext import Script

Pieces = Mapping[str, str]


def of(script: Script, records: Records) -> Pieces:
    """What :mod:`.merge` needs for *records*."""
    dialect = script.connection.dialect.name
    columns = {column.name: column for column in records.data}
    cells = [staging.cell(script.connection, column, "s") for column in records.data]
    own = records.values[len(cells) :]
    refs = list(records.refs)
    keys = [keytext.key(dialect, columns, names, "s") for names in records.refs.values()]
    values = records.values + refs
    everything = [*values, *records.gone, "_duplicate"]
    staged = [*cells, *(f"s.{name}" for name in own), *keys]
    pairs = zip(values, staged, strict=True)
    sets = [f"{script.quote(name)} = {cell}" for name, cell in pairs if name != "_key"]
    # A new version has nothing of what the stream no longer has; its history keeps it.
    sets += [f"{script.quote(name)} = NULL" for name in records.gone]
    # What has nothing to compare, as a row that is gone, repeats nothing.
    kept = f"{script.quote(records.current)}._duplicate AND s._same IS NOT NULL"
    sets.append(f"_duplicate = {kept if records.marks else 'false'}")
    lite = dialect == "sqlite"
    found = _JOINED if lite else _LOOKED_UP
    return {
        "row": "_rowid_" if lite else "ctid",
        "place": "INTEGER" if lite else "tid",
        "found": found.format(current=script.quote(records.current)),
        "values": script.columns(values),
        "staged": ", ".join(staged),
        "all": script.columns(everything),
        "olds": script.columns(everything, "c."),
        "sets": ", ".join(sets),
    }


# SQLite keeps to the order of a cross join.
_JOINED = "{current} AS c ON c._key = s._key"

# Row by row, through the index: PostgreSQL might rather read all of a large table for some rows.
_LOOKED_UP = """LATERAL (
    SELECT ctid, _key, _token, _hash, _deleted FROM {current} WHERE _key = s._key OFFSET 0
  ) AS c"""

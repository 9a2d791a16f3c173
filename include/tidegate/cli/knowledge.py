"""Commands that ask the store: ``show``, ``history``, ``why``, ``changes``.

What is shown is told by its name: a stream's has a dot in it (``shop.orders``), an entity type's
has none (``Customer``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tidegate.cli.pipelines import files
from tidegate.cli.printing import table
from tidegate.cli.words import DONE, NO, Add, moment
from tidegate.connections import from_environment
from tidegate.errors import ConfigError
from tidegate.job import store_endpoint

if TYPE_CHECKING:
    from tidegate.store import Entity, History, Neighbours, Store, Version


def commands(add: Add) -> None:
    """Declare them."""
    show = add("show", _show, "show an entity and what surrounds it, or a record")
    _named(show)
    _at(show)
    show.add_argument("--depth", type=int, default=1, help="steps away from it; default: 1")
    show.add_argument("--relation", help="only relations of this type")
    show.add_argument("--limit", type=int, default=20, help="relations at most; default: 20")
    history = add("history", _history, "show every version of a record, or of an entity's records")
    _named(history)
    why = add("why", _why, "show where an entity's values come from, and what others say")
    why.add_argument("type", help="entity type, like Customer")
    why.add_argument("key", help="the entity's key")
    why.add_argument("attribute", nargs="?", help="only this one")
    _at(why)
    changes = add("changes", _changes, "show what became of the records, commit by commit")
    changes.add_argument("stream", nargs="?", help="only this stream")
    changes.add_argument(
        "--since", default="0", help="a commit, or the cursor of the page before; default: 0"
    )
    changes.add_argument("--limit", type=int, default=100, help="at most; default: 100")
    changes.add_argument("--rows", action="store_true", help="with the values before and after")


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("type", help="entity type, like Customer; or a stream, like shop.orders")
    parser.add_argument("key", help="the entity's key; or the record's primary key")


def _at(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", type=moment, help="what the store knew at this time")
    parser.add_argument("--as-of-seq", type=int, help="what the store knew after this commit")
    parser.add_argument("--valid", type=moment, help="what was true in the world at this time")
    parser.add_argument("--min-seq", type=int, help="wait until this commit is there")


def _point(options: Any) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("as_of", "as_of_seq", "valid", "min_seq")}


@contextmanager
def _store() -> Iterator[Store]:
    from tidegate.store import open_store

    with open_store(store_endpoint(from_environment)) as store:
        yield store


def _print(answer: Any) -> None:
    print(json.dumps(answer, indent=1, ensure_ascii=False))


def _text(value: Any) -> str:
    """A value as people read it: exact, on one line."""
    from tidegate.store.reading.answers import plain

    told = plain(value)
    if isinstance(told, str):
        return told if told.isprintable() else json.dumps(told, ensure_ascii=False)
    return "" if told is None else json.dumps(told, ensure_ascii=False)


def _cells(row: Mapping[str, Any] | None) -> str:
    return "  ".join(f"{name}={_text(cell)}" for name, cell in (row or {}).items())


def _nothing(what: str, seq: int) -> int:
    print(f"tidegate: {what}: the store knows nothing of it at commit {seq}", file=sys.stderr)
    return NO


# show ---------------------------------------------------------------------------------------------


def _show(options: Any) -> int:
    with _store() as store:
        if "." in options.type:
            return _show_record(store, options)
        entity = store.entity(options.type, options.key, **_point(options))
        around = store.neighbours(
            options.type, options.key, relation=options.relation, depth=options.depth,
            limit=options.limit, as_of_seq=entity.seq, valid=options.valid,
        )  # fmt: skip
    if options.json:
        _print({**entity.to_json(), "neighbours": around.to_json()})
    elif entity.exists:
        _tell(entity, around)
    return DONE if entity.exists else _nothing(f"{options.type} {options.key!r}", entity.seq)


def _tell(entity: Entity, around: Neighbours) -> None:
    stub = " (only mentioned)" if entity.stub else ""
    name = f" · {_text(entity.name)}" if entity.name else ""
    print(f"{entity.type} {entity.key}{name}{stub}, at commit {entity.seq}")
    width = max([0, *map(len, entity.attributes)])
    for attribute, value in entity.attributes.items():
        print(f"  {attribute.ljust(width)}  {_text(value)}")
    if entity.records:
        print("  from " + ", ".join(f"{stream} {key}" for stream, key in entity.records))
    if around.edges:
        print()
        columns = ["relation", "from", "to", "qualifiers", "statements"]
        table(columns, [
            {
                "relation": edge.type, "from": f"{edge.from_type} {edge.from_key}",
                "to": f"{edge.to_type} {edge.to_key}", "qualifiers": _cells(edge.qualifiers),
                "statements": edge.statements,
            }
            for edge in around.edges
        ])  # fmt: skip
    if not around.complete:
        print("… and more; give a larger --limit")


def _show_record(store: Store, options: Any) -> int:
    record = store.record(options.type, options.key, **_point(options))
    version = record.version
    if options.json:
        _print(record.to_json())
    elif version is not None:
        print(f"{record.stream} {record.key}{_marks(version)}, at commit {record.seq}")
        width = max(map(len, version.row))
        for name, cell in version.row.items():
            print(f"  {name.ljust(width)}  {_text(cell)}")
        print(f"  since commit {version.since}, {_text(version.committed_at)}, {version.run_id}")
    what = f"{options.type} {options.key!r}"
    return _nothing(what, record.seq) if version is None else DONE


def _marks(version: Version) -> str:
    marks = [word for word in ("deleted", "duplicate") if getattr(version, word)]
    return f" ({', '.join(marks)})" if marks else ""


# history, why, changes ----------------------------------------------------------------------------


def _history(options: Any) -> int:
    with _store() as store:
        if "." in options.type:
            known: Sequence[tuple[str, str]] = [(options.type, options.key)]
            seq = store.head().seq
        else:
            entity = store.entity(options.type, options.key)
            known, seq = entity.records, entity.seq
        found = [store.history(stream, key) for stream, key in known]
    found = [one for one in found if one.versions]
    if options.json:
        _print([one.to_json() for one in found])
    else:
        for one in found:
            _tell_versions(one)
    return DONE if found else _nothing(f"{options.type} {options.key!r}", seq)


def _tell_versions(history: History) -> None:
    print(f"{history.stream} {history.key}, at commit {history.seq}")
    table(["since", "until", "valid", "run_id", "version"], [
        {
            "since": version.since, "valid": _text(version.valid), "run_id": version.run_id,
            "until": "late" if version.until == version.since else version.until,
            "version": f"{_cells(version.row)}{_marks(version)}",
        }
        for version in history.versions
    ])  # fmt: skip


def _why(options: Any) -> int:
    with _store() as store:
        found = store.why(options.type, options.key, options.attribute, **_point(options))
    tables = _source_tables(options)
    rows = [
        {**telling.to_json(), "table": tables.get(telling.stream), "value": _text(telling.value)}
        for telling in found.tellings
    ]
    if options.json:
        told = found.to_json()
        for telling, row in zip(told["tellings"], rows, strict=True):
            telling["table"] = row["table"]
        _print(told)
    elif rows:
        columns = ["attribute", "value", "wins", "stream", "table", "record", "since",
                   "committed_at", "run_id", "valid"]  # fmt: skip
        table(columns, [{**row, "wins": "yes" if row["wins"] else "no"} for row in rows])
    what = f"{options.type} {options.key!r} {options.attribute or ''}".rstrip()
    return DONE if rows else _nothing(what, found.seq)


def _source_tables(options: Any) -> dict[str, str]:
    """Stream → the source's table, as far as there are pipeline files that say it."""
    try:
        known = files(options)
    except ConfigError:
        return {}
    return {
        f"{file.name}.{name}": stream.place
        for file in known
        for name, stream in file.streams.items()
    }


def _changes(options: Any) -> int:
    with _store() as store:
        page = store.changes(options.since, options.limit, options.stream, rows=options.rows)
    if options.json:
        _print(page.to_json())
        return DONE
    columns = ["seq", "op", "stream", "key", *(["before", "after"] if options.rows else [])]
    table(columns, [
        {
            "seq": change.seq, "op": change.op, "stream": change.stream, "key": change.key,
            "before": _cells(change.row_before), "after": _cells(change.row),
        }
        for change in page.changes
    ])  # fmt: skip
    print(f"\n--since {page.cursor} " + ("goes on" if page.more else "tells what comes next"))
    return DONE

"""A store of version 0001 with data in it, as the program of that version would have left it.

The tables are that program's own (``schema_0001.*.sql``). The rows come of a simulation of its
merge, in plain Python, over random increments; these can be loaded into a new store as well.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

import services
from tidegate import hashing
from tidegate.connections import Endpoint
from tidegate.types import ColumnType

Row = dict[str, Any]
ORDERS = {
    "id": "int64", "customer": "string", "total": "decimal(12,2)", "gone": "bool",
    "rate": "float64", "note": "json", "raw": "bytes", "day": "date", "at": "time",
    "seen": "timestamp", "size": "int32", "exact": "numeric", "updated_at": "datetime",
}  # fmt: skip
LINES = {"id": "int64", "product": "string", "amount": "int16", "gone": "bool"}
MAPPING = {
    "cursor": "updated_at",
    "deleted": {"column": "gone"},
    "load": {
        "entities": [
            {"type": "Order", "key": "id", "attributes": ["total", "day", "rate"]},
            {"type": "Customer", "key": "customer", "attributes": {"last": "updated_at"}},
        ],
        "relations": [{"type": "PLACED", "from": "Customer", "to": "Order"}],
    },
}
START = dt.datetime.fromisoformat("2026-01-01")
MOMENT = "2026-01-01T00:00:{:02d}.000000+00:00"


@dataclass
class OldStream:
    """One stream: its increments, and what the old merge made of them."""

    name: str
    types: dict[str, str]
    refs: tuple[str, ...]
    marks: tuple[str, ...]
    increments: list[list[Row]] = field(default_factory=list)
    current: dict[str, Row] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)

    @property
    def table(self) -> str:
        """Of current rows."""
        return self.name.replace(".", "__")

    def load(self, seq: int, rows: list[Row]) -> None:
        """The old merge: the newer token wins, equal content is a touch."""
        self.increments.append(rows)
        for row, kept in zip(rows, self._versions(rows), strict=True):
            before = self.current.get(kept["_key"])
            if before and all(before[name] == kept[name] for name in ("_hash", "_deleted")):
                before |= {name: kept[name] for name in ("_token", "_source_hash")}
                continue
            if before:
                self.history.append({**before, "_seq_to": seq})
                del self.history[-1]["_duplicate"]
            self.current[row["_key"]] = {**kept, "_seq": seq, "_duplicate": False}
        groups: dict[tuple[Any, bool], list[Row]] = {}
        for kept in self.current.values() if self.marks else ():
            groups.setdefault((kept["_same"], kept["_deleted"]), []).append(kept)
        for group in groups.values():
            group.sort(key=lambda kept: (len(kept["_key"]), kept["_key"]))
            for place, kept in enumerate(group):
                again = place > 0 and not kept["_deleted"]
                if kept["_duplicate"] != again:
                    kept |= {"_duplicate": again, "_seq": seq}

    def _versions(self, rows: list[Row]) -> list[Row]:
        """The rows with the old bookkeeping; what is hashed includes the mapping's keys."""
        page = pa.table(
            {
                name: pa.array([row[name] for row in rows], ColumnType.parse(kind).arrow)
                for name, kind in self.types.items()
            }
        )
        source = hashing.row_hashes(page, list(self.types)).to_pylist()
        for name in self.refs:
            cells = [None if row[name] is None else str(row[name]) for row in rows]
            page = page.append_column(f"_ref_{name}", pa.array(cells, pa.string()))
        same: list[str | None] = [None] * len(rows)
        if self.marks:
            texts = hashing.row_texts(page, list(self.marks)).to_pylist()
            same = [text.hex() for text in texts]
            page = page.append_column("_same", pa.array(same, pa.string()))
        hashes = hashing.row_hashes(page, page.column_names).to_pylist()
        return [
            {
                **{name: row[name] for name in self.types},
                **{f"_ref_{name}": page.column(f"_ref_{name}")[n].as_py() for name in self.refs},
                "_key": row["_key"], "_token": row["_token"], "_hash": hashes[n],
                "_source_hash": source[n], "_deleted": bool(row["gone"]), "_same": same[n],
            }
            for n, row in enumerate(rows)
        ]  # fmt: skip


def random_streams(chance: random.Random) -> tuple[list[OldStream], int]:
    """Two streams after some loads in turn, each of its own commit; and how many there were."""
    orders = OldStream("shop.orders", ORDERS, ("id", "customer"), ())
    lines = OldStream("shop.lines", LINES, (), ("product", "amount"))
    reads = {"shop.orders": 0, "shop.lines": 0}
    loads = chance.randint(8, 16)
    for seq in range(1, loads + 1):
        stream = chance.choice([orders, lines])
        reads[stream.name] += 1
        token = reads[stream.name] << 20
        keys = chance.sample(range(1, 30), chance.randint(1, 20))
        make = _order if stream is orders else _line
        stream.load(seq, [{**make(chance, key), "_key": str(key), "_token": token} for key in keys])
    return [orders, lines], loads


def _order(chance: random.Random, key: int) -> Row:
    moment = START + dt.timedelta(seconds=chance.randint(0, 2))
    return {
        "id": key,
        "customer": chance.choice(["ann", "bob", "", None, 'o"ne|\\']),
        "total": chance.choice([Decimal("1.50"), Decimal("10.00"), None]),
        "gone": chance.random() < 0.2,
        "rate": chance.choice([0.1, 1e22, float("nan"), None]),
        "note": chance.choice(['{"a": 1}', None]),
        "raw": chance.choice([b"\x00\xff", None]),
        "day": moment.date(),
        "at": moment.time(),
        "seen": moment.replace(tzinfo=dt.UTC),
        "size": chance.choice([1, None]),
        "exact": chance.choice(["0.00000000000000000001", "12345678901234567890.5"]),
        "updated_at": moment,
    }


def _line(chance: random.Random, key: int) -> Row:
    return {
        "id": key,
        "product": chance.choice(["pen", "ink"]),
        "amount": chance.randint(1, 3),
        "gone": chance.random() < 0.2,
    }


def build(server: services.Server, endpoint: Endpoint, chance: random.Random) -> list[OldStream]:
    """Write such a store into the empty database *endpoint*; returns its streams."""
    schema = Path(__file__).parent / f"schema_0001.{endpoint.kind}.sql"
    lines = [line for line in schema.read_text("utf-8").splitlines() if line[:2] != "--"]
    statements = "\n".join(lines).split(";\n")
    server.execute(endpoint, *[text for text in statements if text.strip()])
    streams, loads = random_streams(chance)
    tables: dict[str, list[Row]] = {"tidegate_stream": [], "tidegate_run": []}
    for stream in streams:
        tables[stream.table] = list(stream.current.values())
        tables[f"{stream.table}__history"] = stream.history
        reads = len(stream.increments)
        tables["tidegate_stream"].append(
            {
                "name": stream.name, "generation": reads, "reads": reads,
                "columns": json.dumps(stream.types) if reads else None,
            }
        )  # fmt: skip
    # One commit has no line: a load that was found to be done already took a number.
    missing = chance.randint(2, loads)
    tables["tidegate_run"] = [run_line(seq) for seq in range(1, loads + 1) if seq != missing]
    tables["tidegate_quarantine"] = [_held(key) for key in range(3)]
    tables["entity"] = [
        {
            "stream": "shop.orders", "type": "Order", "key": "1", "attributes": "{}", "record": "1",
            "deleted": False, "seq_from": 1, "seq": 1,
        }
    ]  # fmt: skip
    insert(server, endpoint, tables)
    server.execute(endpoint, f"UPDATE tidegate_head SET seq = {loads}")
    return streams


def run_line(seq: int) -> Row:
    """A line of the old ledger."""
    counts = (
        "pulled", "inserted", "updated", "deleted", "unchanged", "stale", "deduplicated",
        "quarantined",
    )  # fmt: skip
    return {
        "seq": seq, "stream": "shop.orders", "batch": f"file:///{seq}", "run_id": f"run-{seq}",
        "attempt": 1, "mode": "increment", "read": seq, **dict.fromkeys(counts, 0),
        "cleaned": "[]", "checks": "[]", "committed_at": MOMENT.format(seq - (seq == 5) * 3),
    }  # fmt: skip


def _held(key: int) -> Row:
    return {
        "stream": "shop.orders", "key": str(100 + key), "state": "held", "token": 1 << 20,
        "source_hash": key, "reasons": '[{"message": "no"}]', "row": "{}", "run_id": "run-1",
        "seq": 1, "held_at": MOMENT.format(1),
    }  # fmt: skip


def insert(server: services.Server, endpoint: Endpoint, tables: dict[str, list[Row]]) -> None:
    """Write rows as the old program wrote them."""
    lite = endpoint.kind == "sqlite"
    mark = "?" if lite else "%s"
    with server.engine(endpoint).begin() as connection:
        for table, rows in tables.items():
            for row in rows:
                names = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join([mark] * len(row))
                cells = tuple(map(_lite, row.values()) if lite else row.values())
                text = f"INSERT INTO {table} ({names}) VALUES ({marks})"
                connection.exec_driver_sql(text, cells)


def _lite(cell: Any) -> Any:
    """As the old program wrote cells into SQLite."""
    if isinstance(cell, Decimal):
        return str(cell)
    if isinstance(cell, float) and cell != cell:
        return "NaN"
    if isinstance(cell, dt.datetime):
        text = cell.replace(tzinfo=None).isoformat(" ", "microseconds")
        return text + ("Z" if cell.tzinfo else "")
    if isinstance(cell, dt.time):
        return cell.isoformat("microseconds")
    return cell.isoformat() if isinstance(cell, dt.date) else cell

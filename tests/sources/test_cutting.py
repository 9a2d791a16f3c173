"""The chunks of a window together read what the window reads: no row lost, none read twice."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from services import Server
from sources.tables import INSTANT, STAMP, insert, keys, pull, stream
from tidegate.connections import Endpoint
from tidegate.model import Window
from tidegate.sources import Cuttable, open_source
from tidegate.sources.sql import cutting
from tidegate.sources.sql.options import SqlStream

DAY = datetime(2024, 1, 10)
WINDOW = Window("2024-01-10T00:00:00.000000+00:00", "2024-01-11T00:00:00.000000+00:00")
AUTUMN = Window("2024-10-26T00:00:00.000000+00:00", "2024-10-28T00:00:00.000000+00:00")
KINDS = {"datetime": STAMP, "timestamp": INSTANT, "date": dict.fromkeys(STAMP, "DATE")}


def make(server: Server, kind: str, rows: list[dict[str, Any]]) -> Endpoint:
    """Keys may be NULL, or there twice; so may what windows are cut by."""
    endpoint = server.fresh()
    server.execute(
        endpoint,
        f"CREATE TABLE orders (id INTEGER, changed {kind})",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    insert(server, endpoint, "orders", rows)
    return endpoint


def cut(
    endpoint: Endpoint, spec: SqlStream, window: Window, rows: int
) -> list[tuple[Window, list[str | None]]]:
    """The chunks, and the keys that each of them reads."""
    with open_source(endpoint, spec, "shop.orders") as source:
        assert isinstance(source, Cuttable)
        return [
            (
                chunk,
                [row for page in source.pull(7, None, chunk) for row in page["_key"].to_pylist()],
            )
            for chunk in source.cut(window, rows)
        ]


def read(endpoint: Endpoint, spec: SqlStream, window: Window) -> list[str | None]:
    return keys(pull(endpoint, spec, window=(window.since, window.until)))


def stamps(dice: random.Random, name: str) -> list[str | None]:
    """Some before the window and behind it, some at its edges, many at one moment, some none."""
    moments = [DAY + timedelta(hours=dice.randrange(-30, 50)) for _ in range(40)]
    moments += [DAY + timedelta(microseconds=dice.randrange(86_400 * 10**6)) for _ in range(40)]
    moments += [DAY, DAY - timedelta(microseconds=1), DAY + timedelta(days=1)]
    moments += [dice.choice(moments)] * dice.choice([3, 30])
    end = {"date": "", "datetime": "", "timestamp": "+00:00"}[name]
    texts = [str(moment.date() if name == "date" else moment) + end for moment in moments]
    return [*texts, None, None]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_the_chunks_of_a_window_read_each_of_its_rows_once(
    sql_server: Server, name: str, seed: int
) -> None:
    dice = random.Random(seed)
    if sql_server.kind == "mysql" and name == "timestamp":
        pytest.skip("the session's zone would be asked for")
    rows = [
        {"id": dice.choice([None, place // 2, place]), "changed": stamp}
        for place, stamp in enumerate(stamps(dice, name))
    ]
    endpoint = make(sql_server, KINDS[name][sql_server.kind], rows)
    spec = stream(types={"changed": name})
    whole = read(endpoint, spec, WINDOW)
    for size in (1, dice.randrange(2, 40), 1000):
        found = cut(endpoint, spec, WINDOW, size)
        chunks = [chunk for chunk, _ in found]
        assert (chunks[0].since, chunks[-1].until) == (WINDOW.since, WINDOW.until)
        assert all(one.until == other.since for one, other in pairwise(chunks))
        assert Counter(key for _, part in found for key in part) == Counter(whole)
        assert all(len(part) <= (chunk.rows or 0) for chunk, part in found)
        if size == 1000:
            assert chunks == [WINDOW]
        elif name != "date":
            assert len(chunks) > 1


def test_a_chunk_has_as_many_rows_as_were_asked_for(sql_server: Server) -> None:
    rows = [{"id": n, "changed": str(DAY + timedelta(seconds=n))} for n in range(95)]
    endpoint = make(sql_server, STAMP[sql_server.kind], rows)
    found = cut(endpoint, stream(), WINDOW, 30)
    assert [chunk.rows for chunk, _ in found] == [30, 30, 30, 5]
    assert [len(part) for _, part in found] == [30, 30, 30, 5]


def test_there_are_never_too_many_chunks(sqlite: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MOST_CHUNKS", 8)
    rows = [{"id": n, "changed": str(DAY + timedelta(seconds=n))} for n in range(95)]
    endpoint = make(sqlite, STAMP[sqlite.kind], rows)
    found = cut(endpoint, stream(), WINDOW, 1)
    assert [chunk.rows for chunk, _ in found] == [16, 16, 16, 16, 16, 15]
    assert [len(part) for _, part in found] == [16, 16, 16, 16, 16, 15]


def test_the_repeated_hour_is_in_two_chunks_rather_than_in_none(sql_server: Server) -> None:
    begin = datetime(2024, 10, 27, 1)
    rows = [{"id": n, "changed": str(begin + timedelta(minutes=3 * n))} for n in range(80)]
    endpoint = make(sql_server, STAMP[sql_server.kind], rows)
    spec = stream(time_zone="Europe/Berlin")
    whole = read(endpoint, spec, AUTUMN)
    assert len(whole) == 80
    found = cut(endpoint, spec, AUTUMN, 7)
    assert len(found) > 3
    assert {key for _, part in found for key in part} == set(whole)


def test_without_an_index_a_window_is_one_chunk(sqlite: Server) -> None:
    endpoint = sqlite.fresh()
    sqlite.execute(endpoint, "CREATE TABLE orders (id INTEGER, changed DATETIME)")
    insert(sqlite, endpoint, "orders", [{"id": n, "changed": str(DAY)} for n in range(9)])
    ((chunk, part),) = cut(endpoint, stream(unindexed="allow"), WINDOW, 2)
    assert (chunk, len(part)) == (WINDOW, 9)

"""A first load in chunks: no row is lost, whatever is written meanwhile, killed or repeated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services import Server
from shops import STAMP, Shop
from tidegate import backfill, faults, path, stage
from tidegate.errors import BusyError, ConfigError, DataError, FencedError, LargeLoadError
from tidegate.model import Increment, Mode, Report, Request, Watermark, Window

T0 = datetime(2026, 3, 1)
ROWS = 60
FIELDS: dict[str, Any] = {
    "lookback": "0s", "bound": "lookback", "page_rows": 4, "backfill": {"chunk_rows": 16},
}  # fmt: skip
PAIRS = [("mariadb", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite")]


def opened(server: Server, store: Server) -> Shop:
    shop = Shop(server, server.fresh(), store.fresh(), dict(FIELDS))
    shop.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER, "
        f"changed {STAMP[server.kind]})",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    shop.insert(*(row(n, T0 + timedelta(minutes=n // 3)) for n in range(ROWS)))
    shop.insert(row(1000, None), row(1001, None))
    return shop


@pytest.fixture(params=PAIRS, ids="-to-".join)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    server, store = (request.getfixturevalue(name) for name in request.param)
    return opened(server, store)


@pytest.fixture
def small(sqlite: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The same on SQLite alone, for what does not depend on the database."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    return opened(sqlite, sqlite)


def row(id: int, changed: datetime | None) -> dict[str, Any]:
    return {"id": id, "total": id, "changed": changed and changed.isoformat(" ", "microseconds")}


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def begin(shop: Shop, run_id: str = "first") -> tuple[Increment, list[Window]]:
    job = shop.job()
    head, window = backfill.begin(job, Request(job.full_name, run_id))
    assert head == stage.load_manifest(head.where)
    assert head.request.window == window
    return head, backfill.chunks(job, [window])


def read(shop: Shop, head: Increment, chunk: Window) -> Report:
    return path.run(shop.job(), backfill.part(head.request, chunk))


def truth(shop: Shop) -> list[tuple[Any, ...]]:
    with shop.server.engine(shop.source).connect() as connection:
        found = connection.exec_driver_sql("SELECT id, total FROM orders ORDER BY id")
        return [tuple(one) for one in found]


def watermark(shop: Shop) -> Watermark | None:
    with shop.job().store() as store:
        return store.state("shop.orders").watermark


def writes(shop: Shop, dice: random.Random) -> Iterator[None]:
    """Each stamps what it writes, as the source's applications do."""
    for number in range(2000, 2100):
        chosen = dice.randrange(ROWS)
        match dice.randrange(3):
            case 0:
                shop.insert(row(number, now()))
            case 1:
                shop.change(chosen, total=number, changed=str(now()))
            case 2:
                shop.change(chosen, total=number, changed=None)
        yield


def test_what_is_written_meanwhile_comes_with_the_next_increment(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(shop.source.kind)
    writing = writes(shop, dice)
    head, chunks = begin(shop)
    assert len(chunks) == 4
    todo = [*chunks, *dice.sample(chunks, 2)]
    dice.shuffle(todo)
    for number, chunk in enumerate(todo):
        next(writing)
        if number == 2:
            monkeypatch.setattr(faults, "_passed", {})
            monkeypatch.setenv(faults.VARIABLE, "load.before_commit:fail")
            with pytest.raises(OSError, match="asked for a failure"):
                read(shop, head, chunk)
            monkeypatch.delenv(faults.VARIABLE)
        read(shop, head, chunk)
    next(writing)
    assert watermark(shop) is None

    assert backfill.finish(shop.job(), head) == head.high == watermark(shop)

    shop.run()
    assert shop.stored("id, total") == truth(shop)


def test_it_ends_where_a_load_in_one_run_does(small: Shop) -> None:
    shop = small
    shop.insert(row(5000, now() + timedelta(days=300)))
    head, chunks = begin(shop)
    for chunk in chunks:
        read(shop, head, chunk)
    backfill.finish(shop.job(), head)
    shop.run()
    with shop.job().store() as store:
        state = store.state("shop.orders")
        line = store.runs("shop.orders", 1)[0]
        agreement = store.agreement("shop.orders")
    assert shop.stored("id, total") == truth(shop)
    assert line["census"] == {"null": 2, "future": 1}
    assert state.generation == 2
    assert agreement is not None
    assert not agreement.pending
    assert [one.column.name for one in agreement.columns] == ["id", "total", "changed"]


def test_nothing_is_promised_while_a_chunk_is_missing(small: Shop) -> None:
    head, chunks = begin(small)
    for chunk in chunks[:-1]:
        read(small, head, chunk)
    with pytest.raises(DataError, match=r"1 parts of the table are not loaded, the first from "):
        backfill.finish(small.job(), head)
    assert watermark(small) is None
    read(small, head, chunks[-1])
    assert backfill.finish(small.job(), head) == head.high
    assert backfill.finish(small.job(), head) == head.high, "a retry says the same"
    small.run()


def test_syncs_are_skipped_meanwhile_and_go_on_afterwards(small: Shop) -> None:
    head, chunks = begin(small)
    with pytest.raises(BusyError, match="is being run by first"):
        small.run()
    for chunk in chunks:
        read(small, head, chunk)
    with pytest.raises(BusyError):
        small.run()
    backfill.finish(small.job(), head)
    assert small.run().pulled == 2


def test_a_run_that_took_the_stream_over_shuts_the_chunks_out(
    small: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", "0.001")
    head, chunks = begin(small)
    read(small, head, chunks[0])
    monkeypatch.delenv("TIDEGATE_LEASE_SECONDS")
    other, others = begin(small, "another")
    with pytest.raises(FencedError, match="run another took it over"):
        read(small, head, chunks[1])
    for chunk in others:
        read(small, other, chunk)
    with pytest.raises(DataError, match="are not loaded"):
        backfill.finish(small.job(), head)
    assert watermark(small) is None
    assert backfill.finish(small.job(), other) == other.high


def test_chunks_of_an_earlier_beginning_do_not_count(small: Shop) -> None:
    """Its bound was another, and maybe its columns."""
    head, chunks = begin(small)
    for chunk in chunks:
        read(small, head, chunk)
    again, others = begin(small)
    assert again.fence == head.fence + 1
    read(small, again, Window(chunks[-1].since, others[-1].until, 0))
    with pytest.raises(DataError, match="are not loaded"):
        backfill.finish(small.job(), again)


def test_a_stream_with_a_watermark_is_read_once_more_below_it_beside_its_syncs(
    small: Shop,
) -> None:
    small.run()
    mark = watermark(small)
    head, chunks = begin(small)
    assert (head.fence, head.high) == (0, mark)
    small.run()
    after = watermark(small)
    pulled = Counter(read(small, head, chunk).inserted for chunk in chunks)
    assert set(pulled) == {0}
    backfill.finish(small.job(), head)
    assert watermark(small) == after


@pytest.mark.parametrize("fields", [{"cursor": "id", "lookback": 0}, {"backfill": {"by": "day"}}])
def test_what_windows_of_the_cursor_cannot_cut_says_what_to_do(
    small: Shop, fields: dict[str, Any]
) -> None:
    small.execute("ALTER TABLE orders ADD day DATE")
    with pytest.raises(ConfigError, match="cannot be read as a whole in chunks"):
        backfill.begin(small.job(**fields), small.request())
    assert small.run(Mode.FULL, **fields).pulled == ROWS + 2


def analysed(shop: Shop) -> Shop:
    """What the server guesses is what there is."""
    shop.execute("ANALYZE TABLE orders" if shop.source.kind == "mysql" else "ANALYZE orders")
    return shop


def test_who_asks_not_to_read_so_many_is_refused_until_something_is_loaded(shop: Shop) -> None:
    job, run = analysed(shop).job(), Request("shop.orders", "sync")
    few = replace(run, most=ROWS + 1)
    with pytest.raises(LargeLoadError, match=f"about {ROWS + 2} rows, more than {ROWS + 1}"):
        path.pull(job, few)
    assert shop.stored("run_id", "tidegate_run") == []
    assert watermark(shop) is None
    head, chunks = begin(shop)  # the lease was given back
    with pytest.raises(BusyError):
        path.pull(job, few)
    for chunk in chunks:
        read(shop, head, chunk)
    backfill.finish(job, head)
    assert path.run(job, few).watermark is not None


def test_a_first_load_that_is_small_enough_is_read_at_once(shop: Shop) -> None:
    few = Request("shop.orders", "sync", most=ROWS + 2)
    assert path.run(analysed(shop).job(), few).pulled == ROWS + 2


@pytest.mark.parametrize(
    "fields",
    [
        {"cursor": "id", "lookback": 0},
        {"backfill": {"by": "total", "chunk_rows": 16}},
        {"unindexed": "allow"},
    ],
    ids=["a number", "windows by another column", "no index"],
)
@pytest.mark.parametrize("shop", PAIRS[:1], indirect=True)
def test_what_cannot_be_cut_is_read_at_once(shop: Shop, fields: dict[str, Any]) -> None:
    if "unindexed" in fields:
        shop.execute("DROP INDEX by_changed ON orders")
    few = Request("shop.orders", "sync", most=1)
    assert path.run(analysed(shop).job(**fields), few).pulled == ROWS + 2

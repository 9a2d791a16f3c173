"""An increment of several pages: its steps work at once, and the store says what it always says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services import Server
from shops import Shop
from test_path import PAIRS, content, held, opened, row, watermark
from tidegate import clean as cleaning
from tidegate import faults, path, stage
from tidegate.coming import Coming, EndedError, whole
from tidegate.errors import DataError
from tidegate.model import Increment, Mode, Report, Request, StagedPage
from tidegate.sources.sql.reading import SqlSource

INCREMENT = Increment(
    request=Request("shop.orders", "run", Mode.INCREMENT), step="pull", where="", origin="",
    columns=(), pages=(), read=1, generation=0, low=None, high=None, observed_at="",
)  # fmt: skip
PAGES = [StagedPage(f"page-{number}", 1, "") for number in range(3)]
Changed = Callable[[SqlSource], str | None]
NEVER = {"expect_table_row_count_to_be_between": {"min_value": 1_000}}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs are staged."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("TIDEGATE_HOME", str(home))
    return home


@pytest.fixture(params=PAIRS, ids="-to-".join)
def pair(request: pytest.FixtureRequest) -> tuple[Server, Server]:
    """Where orders come from, and where they go."""
    source, store = (request.getfixturevalue(name) for name in request.param)
    return source, store


def step_by_step(shop: Shop, **fields: Any) -> Report:
    """As Airflow does: a step begins when the one before is done."""
    job = shop.job(**fields)
    return path.load(job, path.validate(job, path.clean(job, path.pull(job, shop.request()))))


def beside(shop: Shop, store: Server) -> Shop:
    """The same source into another store."""
    return Shop(shop.server, shop.source, store.fresh(), dict(shop.fields))


def rows(count: int) -> list[dict[str, Any]]:
    """Good ones, and of each kind of bad ones some; tombstones that cleaning held among them."""
    kinds: list[Callable[[int], dict[str, Any]]] = [
        row, row,
        lambda key: row(key, total="twelve"),
        lambda key: row(key, status="lost"),
        lambda key: row(key, total="twelve", gone=1),
        lambda key: row(key, gone=1),
    ]  # fmt: skip
    return [kinds[key % len(kinds)](key) for key in range(1, count + 1)]


def test_several_pages_at_once_load_what_they_load_one_step_after_the_other(
    pair: tuple[Server, Server],
) -> None:
    shop = opened(*pair)
    shop.insert(*rows(40))
    twin = beside(shop, pair[1])

    at_once, stepwise = shop.run(page_rows=7), step_by_step(twin, page_rows=7)

    assert (at_once.pulled, at_once.quarantined) == (40, 14)
    assert at_once.accounted == stepwise.accounted == 40
    assert content(shop) == content(twin)
    shop.change(3, total="3.00")
    shop.insert(*(row(key, status="lost" if key % 9 else "paid") for key in range(41, 60)))
    assert shop.run(page_rows=7).accounted == step_by_step(twin, page_rows=7).accounted
    assert content(shop) == content(twin)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(range(6)), min_size=1, max_size=12), st.integers(1, 5))
def test_any_rows_in_pages_of_any_size_are_loaded_as_step_by_step(
    sqlite: Server, kinds: list[int], page_rows: int
) -> None:
    shop = opened(sqlite, sqlite)
    known = rows(6)
    shop.insert(*({**known[kind], "id": key} for key, kind in enumerate(kinds)))
    twin = beside(shop, sqlite)
    shop.run(page_rows=page_rows)
    step_by_step(twin, page_rows=page_rows)
    assert content(shop) == content(twin)


def test_no_page_is_loaded_when_the_rows_as_a_whole_are_refused(
    pair: tuple[Server, Server],
) -> None:
    shop = opened(*pair)
    shop.insert(*rows(40))
    with pytest.raises(DataError, match=r"shop\.orders: nothing was loaded"):
        shop.run(page_rows=7, expect=[NEVER])
    assert watermark(shop) is None
    assert not shop.has("shop__orders")
    assert held(shop) == {}
    assert shop.run(page_rows=7).accounted == 40  # the lease was given back


def test_too_many_held_rows_stop_a_first_load_that_was_copied_already(
    pair: tuple[Server, Server],
) -> None:
    shop = opened(*pair)
    shop.insert(*rows(40))
    with pytest.raises(DataError, match="more than stop_above: 5"):
        shop.run(page_rows=7, stop_above=5)
    assert not shop.has("shop__orders")


def test_a_step_that_fails_ends_the_read(sqlite: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = opened(sqlite, sqlite)
    shop.insert(*(row(key) for key in range(1, 400)))
    failed = Event()
    written: list[int] = []

    def fails(*_: Any) -> Any:
        failed.set()
        raise DataError("mended nowhere")

    def write(writer: Any, table: Any, before: Any = stage.Writer.write) -> Any:
        if len(written) == 2:
            assert failed.wait(30)
        written.append(table.num_rows)
        return before(writer, table)

    monkeypatch.setattr("tidegate.clean.apply", fails)
    monkeypatch.setattr("tidegate.stage.Writer.write", write)
    with pytest.raises(DataError, match="mended nowhere"):
        shop.run(page_rows=2)
    assert len(written) < 150  # of 200 pages


def test_what_began_anew_with_fewer_pages_is_loaded(
    pair: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opened(*pair)
    shop.insert(*(row(key) for key in range(1, 20)))
    asked = []

    def changed(source: SqlSource, before: Changed = SqlSource.changed) -> str | None:
        asked.append(source)
        if len(asked) > 1:
            return before(source)
        shop.execute("DELETE FROM orders WHERE id > 3")
        return "a column came"

    monkeypatch.setattr(SqlSource, "changed", changed)
    assert shop.run(page_rows=7).inserted == 3
    assert watermark(shop) is not None


def test_a_read_that_was_given_up_does_not_give_back_the_lease_of_the_next(
    sqlite: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opened(sqlite, sqlite)
    shop.insert(*(row(key) for key in range(1, 60)))
    cleaning_it, given_up, resisted, leases = Event(), Event(), Event(), []

    def changed(source: SqlSource, before: Changed = SqlSource.changed) -> str | None:
        if given_up.is_set():
            return before(source)
        assert cleaning_it.wait(30)  # otherwise nothing of this read would be there to resist
        given_up.set()
        return "a column came"

    def apply(*arguments: Any, before: Any = cleaning.apply) -> Any:
        if resisted.is_set():
            return before(*arguments)
        cleaning_it.set()
        assert given_up.wait(30)
        resisted.set()
        raise DataError("a page of the first read resists")

    def write(writer: Any, table: Any, before: Any = stage.Writer.write) -> Any:
        if given_up.is_set() and "/pull-" in writer.where:
            assert resisted.wait(30)
            leases.extend(shop.stored("lease_until", "tidegate_stream"))
        return before(writer, table)

    monkeypatch.setattr(SqlSource, "changed", changed)
    monkeypatch.setattr(cleaning, "apply", apply)
    monkeypatch.setattr(stage.Writer, "write", write)
    assert shop.run(page_rows=20).inserted == 59
    assert len(leases) == 3
    assert None not in leases


def test_who_interrupts_a_run_stops_its_load(
    sqlite: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opened(sqlite, sqlite)
    shop.insert(row(1))
    shop.run()
    shop.insert(*(row(key) for key in range(2, 60)))
    points = iter(range(99))

    def interrupt(name: str) -> None:
        if name == "load.after_commit" and next(points) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(faults, "point", interrupt)
    with pytest.raises(KeyboardInterrupt):
        shop.run(page_rows=10)
    assert len(shop.stored("id")) == 20
    monkeypatch.undo()


def test_pages_are_there_as_soon_as_they_are_staged() -> None:
    coming = Coming()
    taken: list[StagedPage] = []
    reader = Thread(target=lambda: taken.extend(coming))
    reader.start()
    for page in PAGES:
        coming.add(page)
    done = replace(INCREMENT, pages=tuple(PAGES))
    coming.close(done)
    reader.join(30)
    assert taken == PAGES
    assert whole(replace(INCREMENT, pages=coming)) == done
    assert (len(coming), coming[1:]) == (3, tuple(PAGES[1:]))


def test_whoever_waits_for_a_page_learns_why_it_will_not_come() -> None:
    coming = Coming()
    learnt: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(EndedError) as error:
            list(coming)
        learnt.append(error.value.error)

    reader = Thread(target=wait)
    reader.start()
    coming.add(PAGES[0])
    reason = DataError("no more")
    coming.fail(reason)
    reader.join(30)
    assert learnt == [reason]
    with pytest.raises(EndedError):
        coming.add(PAGES[1])
    with pytest.raises(EndedError):
        whole(replace(INCREMENT, pages=coming))

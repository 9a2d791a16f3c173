"""The first relations of a store are written without indexes; nobody can tell afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from shops import bare
from store.deliveries import Delivery
from store.plainly import differences, recomputed, stored
from tidegate.store import open_store
from tidegate.store.knowledge import bulk, relations
from tidegate.store.store import Store

TYPES = {"id": "int64", "customer": "string"}
LOAD = {
    "entities": [{"type": "Order", "key": "id", "attributes": ["customer"]}],
    "relations": [
        {"type": "BY", "from": "Order", "to": {"type": "Customer", "key": "customer"}},
    ],
}
ROWS: list[dict[str, Any]] = [{"id": place, "customer": f"c{place % 3}"} for place in range(9)]
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'relation' ORDER BY 1"
KEYS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'relation'::regclass ORDER BY 1
"""


@pytest.fixture
def store(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(bulk, "MANY", len(ROWS))
    with open_store(postgres.fresh()) as opened:
        yield opened


@pytest.fixture
def dropped(store: Store) -> list[str]:
    """What is said to the server that drops something of the table."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith(("DROP INDEX ", "ALTER TABLE relation DROP")):
            said.append(statement)

    sa.event.listen(store._engine, "before_cursor_execute", note)
    return said


def orders(store: Store, folder: Path, name: str = "shop.orders") -> Delivery:
    return Delivery(store, folder, name, TYPES, {"load": LOAD})


def shape(store: Store) -> list[list[Any]]:
    return [bare(store.endpoint, query) for query in (INDEXES, KEYS)]


def require_right(store: Store, *deliveries: Delivery) -> None:
    assert differences(stored(store), recomputed(store, deliveries)) == []
    assert store.verify() == []


def test_all_indexes_are_there_again_also_those_of_others(
    store: Store, tmp_path: Path, dropped: list[str], postgres: Server
) -> None:
    postgres.execute(
        store.endpoint,
        "CREATE INDEX \"of % them\" ON relation (to_key) WHERE to_key LIKE 'c%'",
        "ALTER TABLE relation ADD CONSTRAINT once UNIQUE (rule, record, n, to_key)",
    )
    before = shape(store)
    some = orders(store, tmp_path)
    some.load(ROWS)
    assert len(dropped) == len(before[0]) == 5
    assert shape(store) == before
    require_right(store, some)


def test_only_the_first_ones_and_only_many_are_written_like_that(
    store: Store, tmp_path: Path, dropped: list[str]
) -> None:
    few = orders(store, tmp_path, "shop.few")
    few.load(ROWS[:-1])
    assert dropped == []
    more = orders(store, tmp_path)
    more.load(ROWS)
    more.load([{"id": 1, "customer": "c9"}])
    assert dropped == []
    require_right(store, few, more)


def test_nobody_who_reads_is_waited_for(
    store: Store, tmp_path: Path, dropped: list[str], postgres: Server
) -> None:
    before, some = shape(store), orders(store, tmp_path)
    with closing(postgres.engine(store.endpoint).connect()) as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM relation").scalar_one() == 0
        some.load(ROWS)
        assert reader.exec_driver_sql("SELECT count(*) FROM relation").scalar_one() == len(ROWS)
    assert dropped == []
    assert shape(store) == before
    require_right(store, some)


def test_what_others_hung_on_an_index_stays(store: Store, tmp_path: Path, postgres: Server) -> None:
    postgres.execute(
        store.endpoint,
        "CREATE TABLE noted (rule integer, record text, n integer, "
        "FOREIGN KEY (rule, record, n) REFERENCES relation)",
    )
    before, some = shape(store), orders(store, tmp_path)
    some.load(ROWS)
    assert shape(store) == before
    require_right(store, some)


def test_what_fails_in_between_leaves_everything_as_it_was(
    store: Store, tmp_path: Path, dropped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("stop")

    before, some = shape(store), orders(store, tmp_path)
    stubs: Callable[..., None] = relations._stubs
    monkeypatch.setattr(relations, "_stubs", fail)
    with pytest.raises(RuntimeError, match="stop"):
        some.load(ROWS)
    assert dropped
    assert shape(store) == before
    assert bare(store.endpoint, "SELECT count(*) FROM relation") == [(0,)]
    monkeypatch.setattr(relations, "_stubs", stubs)
    some.load(ROWS)
    assert shape(store) == before
    require_right(store, some)

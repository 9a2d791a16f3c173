"""The comparison sees each kind of difference, on every source."""

from __future__ import annotations

from pathlib import Path

import pytest

from services import Server
from shops import STAMP, Shop
from tidegate.compare import Comparison, compare

PAIRS = [("sqlite", "sqlite"), ("mariadb", "postgres"), ("postgres", "sqlite")]


@pytest.fixture(params=PAIRS, ids="-to-".join)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Seven orders, loaded; of two the amount is no number."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    server, store = (request.getfixturevalue(name) for name in request.param)
    number = {"to_number": {"columns": ["total"], "type": "int64"}}
    shop = Shop(server, server.fresh(), store.fresh(), {"clean": [number], "page_rows": 3})
    shop.execute(
        "CREATE TABLE orders (id INTEGER, total VARCHAR(9), "
        f"changed {STAMP[server.kind]} NOT NULL)",
        "CREATE UNIQUE INDEX by_id ON orders (id)",
        "CREATE INDEX by_changed ON orders (changed, id)",
        *(f"INSERT INTO orders VALUES ({n}, '{n}', '2026-03-01')" for n in range(1, 6)),
        "INSERT INTO orders VALUES (6, 'six', '2026-03-01'), (NULL, '7', '2026-03-01')",
    )
    shop.run()
    return shop


def differences(found: Comparison) -> tuple[int, int, int]:
    return found.missing, found.stale, found.extra


def test_a_store_that_is_what_the_source_says_agrees(shop: Shop) -> None:
    found = compare(shop.job())
    assert found == Comparison("shop.orders", 7, 5, 2, 0, 0, 0)
    assert found.agrees


@pytest.mark.parametrize(
    ("statement", "seen", "example"),
    [
        ("INSERT INTO orders VALUES (8, '8', '2026-03-02')", (1, 0, 0), "missing 8"),
        ("INSERT INTO orders VALUES (NULL, '8', '2026-03-02')", (1, 0, 0), "missing ?"),
        ("UPDATE orders SET total = '02' WHERE id = 2", (0, 1, 0), "stale 2"),
        ("UPDATE orders SET total = NULL WHERE id = 2", (0, 1, 0), "stale 2"),
        ("UPDATE orders SET total = 'VI' WHERE id = 6", (0, 1, 0), "stale 6"),
        ("UPDATE orders SET total = '6' WHERE id = 6", (0, 1, 0), "stale 6"),
        ("UPDATE orders SET total = '' WHERE id = 2", (0, 1, 0), "stale 2"),
        ("DELETE FROM orders WHERE id = 5", (0, 0, 1), "extra 5"),
        ("UPDATE orders SET id = 9 WHERE id = 5", (1, 0, 1), "extra 5"),
    ],
)
def test_each_difference_is_seen_and_shown(
    shop: Shop, statement: str, seen: tuple[int, int, int], example: str
) -> None:
    shop.execute(statement)
    found = compare(shop.job())
    assert differences(found) == seen
    assert any(shown.startswith(example) for shown in found.examples)
    assert not found.agrees


def test_after_the_next_run_a_change_agrees_again(shop: Shop) -> None:
    shop.execute(
        "UPDATE orders SET total = '20' WHERE id = 2",
        "UPDATE orders SET total = '6' WHERE id = 6",
        "INSERT INTO orders VALUES (8, 'eight', '2026-03-02')",
    )
    assert differences(compare(shop.job())) == (1, 2, 0)
    shop.run()
    found = compare(shop.job())
    assert (found.matched, found.held, found.agrees) == (6, 2, True)


def test_a_column_that_was_not_agreed_to_is_no_difference(shop: Shop) -> None:
    shop.execute("ALTER TABLE orders ADD COLUMN note VARCHAR(9) DEFAULT 'x'")
    shop.run(drift={"add": "ask"})
    assert compare(shop.job(drift={"add": "ask"})).agrees
    assert compare(shop.job()).agrees
    shop.run()
    assert compare(shop.job()).agrees


def test_a_stream_that_never_ran_misses_every_row(shop: Shop, sqlite: Server) -> None:
    fresh = Shop(shop.server, shop.source, sqlite.fresh(), shop.fields)
    found = compare(fresh.job())
    assert (found.source_rows, *differences(found)) == (7, 7, 0, 0)
    assert len(found.examples) == 4

"""The e-commerce case on a real MariaDB: what its store says, after a while of untidy traffic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

import services
from cases.living import Case
from demo import words
from demo.commerce import TABLES, Commerce
from demo.mysql import connect

pytestmark = [pytest.mark.service, pytest.mark.slow]
KEYS = {"customers": 1, "products": 1, "orders": 1, "order_items": 2, "inventory": 2,
        "stock_movements": 1}  # fmt: skip
STATUSES = {spelt.strip().lower(): status for status in words.STATUSES
            for spelt in (status, *words.SPELLINGS[status])} | {"已付款": "paid"}  # fmt: skip
COUNTRIES = {"GERMANY": "DE", "DEUTSCHLAND": "DE", "FRANCE": "FR", "中国": "CN", "UK": "GB"}
YES = {"yes": 1, "Y": 1, "no": 0, "0": 0, None: 0}


@pytest.fixture(scope="module")
def case(
    mariadb: services.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:  # fmt: skip
    """The shop after some 300 transactions, of which 50 were open for a while."""
    folder = tmp_path_factory.mktemp("ecommerce")
    source = replace(mariadb.fresh(), name="ecommerce")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEGATE_HOME", str(folder / "home"))
        case = Case("ecommerce", source, mariadb.uri(source), folder)
        case.live("commerce", steps=300, per_second=25)
        yield case


def rows(case: Case, table: str) -> dict[str, dict[str, Any]]:
    """The source's rows that are not marked as deleted, by the key they have in the store."""
    with closing(connect(case.source)) as session, session.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {key(table, row): row for row in found if row.get("deleted_at") is None}


def key(table: str, row: dict[str, Any]) -> str:
    """A key of several columns is a JSON list of texts."""
    cells = [str(cell) for cell in list(row.values())[: KEYS[table]]]
    return cells[0] if len(cells) == 1 else json.dumps(cells, separators=(",", ":"))


# What a person would say that the rows mean; None: nothing that can be used.


def customer(row: dict[str, Any]) -> tuple[Any, ...] | None:
    name = " ".join((row["name"] or "").split())
    country = row["country"].strip().upper()
    wanted = (
        name, row["email"].strip().lower()[-12:], COUNTRIES.get(country, country),
        YES[row["newsletter"]], row["born"].isoformat(),
    )  # fmt: skip
    return wanted if name else None


def product(row: dict[str, Any]) -> tuple[Any, ...] | None:
    price = row["list_price"].strip("€ EUR").replace(",", "")
    wanted = (row["name"], row["category"], price)
    return None if row["list_price"] in words.BROKEN_PRICES else wanted


def order(row: dict[str, Any]) -> tuple[Any, ...] | None:
    status, note = STATUSES.get(row["status"].strip().lower()), row["note"]
    if status is None or row["total"] < 0 or row["ordered_on"] in words.BROKEN_DATES:
        return None
    forms = {"-": "%Y-%m-%d", ".": "%d.%m.%Y", "/": "%Y/%m/%d"}
    form = next(form for mark, form in forms.items() if mark in row["ordered_on"])
    day = datetime.strptime(row["ordered_on"], form).replace(tzinfo=UTC).date().isoformat()
    return (row["order_no"], row["customer_no"], status, day, str(row["total"]),
            note and note.strip())  # fmt: skip


def item(row: dict[str, Any]) -> tuple[Any, ...] | None:
    amount = row["quantity"] * row["unit_price"]
    wanted = (row["sku"], row["quantity"], str(row["unit_price"]), str(amount))
    return wanted if 1 <= row["quantity"] <= 1000 else None


def stock(row: dict[str, Any]) -> tuple[Any, ...] | None:
    there, promised = row["on_hand"] or 0, row["reserved"] or 0
    wanted = (there, promised, there - promised, int(row["on_hand"] is not None))
    return wanted if there >= 0 else None


def movement(row: dict[str, Any]) -> tuple[Any, ...] | None:
    wanted = (row["warehouse"], row["sku"], row["delta"], row["reason"], row["order_no"])
    return wanted if row["delta"] else None


MEANT: dict[str, tuple[Any, tuple[str, ...]]] = {
    "customers": (customer, ("name", "substr(email, -12)", "country", "newsletter", "born")),
    "products": (product, ("name", "category", "list_price")),
    "orders": (order, ("order_no", "customer_no", "status", "ordered_on", "total", "note")),
    "order_items": (item, ("sku", "quantity", "unit_price", "amount")),
    "inventory": (stock, ("on_hand", "reserved", "available", "counted")),
    "stock_movements": (movement, ("warehouse", "sku", "delta", "reason", "order_no")),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_loaded_as_a_person_would_write_it_or_held(case: Case, table: str) -> None:
    meant, columns = MEANT[table]
    wanted = {key: meant(row) for key, row in rows(case, table).items()}
    assert len(wanted) > 40
    assert case.differences(table, wanted, *columns) == []


@pytest.mark.parametrize("table", TABLES)
def test_the_stream_is_verified_through_its_watermark(case: Case, table: str) -> None:
    assert case.verified[table].verified, case.verified[table].note


def test_the_traffic_had_the_faults_that_it_promises(case: Case) -> None:
    orders = rows(case, "orders")
    assert case.rounds >= 3
    assert max(map(int, orders)) > len(orders) + 5, "numbers that were rolled back leave holes"
    assert [row for row in rows(case, "inventory").values() if row["on_hand"] is None]
    for table in ("customers", "orders", "order_items", "products"):
        assert case.held(table), f"nothing of {table} was bad"
    gone = "SELECT count(*) FROM ecommerce__order_items WHERE _deleted"
    assert case.bare(gone) != [(0,)], "no item was deleted while the streams ran"


def test_an_order_that_was_sent_twice_is_one_order(case: Case) -> None:
    numbers = case.rows("orders", "order_no", "_duplicate")
    twice = {number for number, again in numbers.values() if again}
    single = [number for number, again in numbers.values() if not again]
    assert len(twice) > 5
    assert len(single) == len(set(single)) == len({number for number, _ in numbers.values()})
    with case.knowledge() as store:
        for number in sorted(twice)[:10]:
            ids = [int(id) for id, (other, _) in numbers.items() if other == number]
            assert store.entity("Order", number).records == (("ecommerce.orders", str(min(ids))),)


def test_an_order_is_placed_by_its_customer_and_made_of_its_items(case: Case) -> None:
    items, held = rows(case, "order_items"), case.held("order_items")
    wanted = next(
        row for id, row in rows(case, "orders").items()
        if id not in case.held("orders") and id in case.rows("orders", "id")
        and any(i["order_no"] == row["order_no"] for i in items.values())
    )  # fmt: skip
    number = wanted["order_no"]
    with case.knowledge() as store:
        order = store.entity("Order", number)
        edges = store.neighbours("Order", number).edges
        buyers = store.neighbours("Order", number, relation="PLACED_BY").entities
    assert order.name == f"Order {number}"
    assert order.attributes["total"] == wanted["total"]
    assert isinstance(order.attributes["ordered_on"], date)
    assert buyers == (("Customer", wanted["customer_no"]),)
    assert {edge.from_key for edge in edges if edge.type == "PART_OF"} == {
        f"{number}|{row['line']}"
        for key, row in items.items() if row["order_no"] == number and key not in held
    }  # fmt: skip


def test_missing_stock_counts_as_none_and_says_that_it_was_missing(case: Case) -> None:
    found = [row for row in rows(case, "inventory").values() if row["on_hand"] is None]
    with case.knowledge() as store:
        for row in found:
            stock = store.entity("StockItem", f"{row['warehouse']}|{row['sku']}")
            assert stock.attributes["on_hand"] == 0
            assert stock.attributes["counted"] is False
            assert stock.attributes["available"] == -(row["reserved"] or 0)
            around = store.neighbours("StockItem", stock.key, direction="out").entities
            assert set(around) == {("Product", row["sku"]), ("Warehouse", row["warehouse"])}


def test_a_shipment_tells_which_stock_it_changed_and_for_which_order(case: Case) -> None:
    id, shipped = next(
        (id, row) for id, row in rows(case, "stock_movements").items() if row["order_no"]
    )
    with case.knowledge() as store:
        around = store.neighbours("StockMovement", id, direction="out").entities
    place = f"{shipped['warehouse']}|{shipped['sku']}"
    assert set(around) == {("StockItem", place), ("Order", shipped["order_no"])}


def test_what_is_deleted_in_the_source_is_gone_from_the_knowledge(case: Case) -> None:
    gone = [row[0] for row in case.bare("SELECT _key FROM ecommerce__order_items WHERE _deleted")]
    with case.knowledge() as store:
        lines = [store.entity("OrderLine", "|".join(json.loads(key))) for key in gone]
    assert {line.exists for line in lines} == {False}


def test_the_same_seed_does_the_same_with_transactions_open_at_once(
    mariadb: services.Server,
) -> None:
    def lived(seed: int) -> tuple[list[Any], int]:
        endpoint = mariadb.fresh()
        shop = Commerce(lambda: connect(endpoint), seed, lambda: date(2026, 3, 1))
        shop.open(customers=20, products=20, orders=20)
        most = 0
        for _ in range(60):
            shop.step()
            most = max(most, len(shop.open_ones))
        shop.finish()
        return content(connect(endpoint)), most

    (first, most), (again, _), (other, _) = lived(7), lived(7), lived(8)
    assert first == again != other
    assert most >= 3


def content(session: Any) -> list[Any]:
    """All rows, without the stamps."""
    found: list[Any] = []
    with closing(session), session.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
            found += [[c for c in row if not isinstance(c, datetime)] for row in cursor.fetchall()]
    return found

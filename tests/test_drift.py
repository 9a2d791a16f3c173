"""What becomes of a table whose columns change, under each setting of ``drift:``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from shops import STAMP, Shop
from tidegate import cli, faults, path, pulling, stage
from tidegate.errors import ChangedError, ConfigError, DriftError
from tidegate.model import Increment, Mode, Window
from tidegate.pipeline.models import Drift
from tidegate.store.store import Store
from tidegate.types import Agreed

Changes = Callable[[str], Sequence[str]]

OUTCOMES: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    # change    drift:                                  outcome      what helps when it stops
    ("add", {"add": "accept"}, "read", {}),
    ("add", {"add": "ask"}, "left out", {"answer": "accept"}),
    ("add", {"add": "refuse"}, "stops", {"answer": "accept"}),
    ("drop", {"drop": "keep"}, "NULL", {}),
    ("drop", {"drop": "refuse"}, "stops", {"drift": {"drop": "keep"}}),
    ("rename", {"drop": "keep"}, "NULL", {}),
    ("rename", {"drop": "keep", "add": "ask"}, "left out", {"answer": "accept"}),
    ("rename", {"drop": "keep", "add": "refuse"}, "stops", {"answer": "accept"}),
    ("rename", {"drop": "refuse"}, "stops", {"drift": {"renamed": {"name": "label"}}}),
    ("rename", {"renamed": {"name": "label"}}, "read", {}),
    ("widen", {"change": "widen"}, "read", {}),
    ("widen", {"change": "refuse"}, "stops", {"drift": {"change": "widen"}}),
    ("narrow", {"change": "widen"}, "read", {}),
    ("narrow", {"change": "refuse"}, "stops", {"drift": {"change": "widen"}}),
    ("retype", {"change": "widen"}, "stops", {"types": {"label": "string"}}),
    ("retype", {"change": "refuse"}, "stops", {"types": {"label": "string"}}),
]
"""The table of outcomes; the same between two runs and between two pages of one.

read      the store says of every row, old ones too, what the source says of it now
left out  as read, but for the new column, which somebody is asked about
NULL      as read; the column that is gone stays in the store, and says nothing
stops     nothing is loaded; the error says what helps, and with that the store is as the source
"""
WHEN = ["between runs", "between pages"]
PLAIN = {"id": "INTEGER", "label": "VARCHAR(20)", "price": "DECIMAL(8,2)"}


def table(kind: str, types: dict[str, str], name: str = "orders") -> str:
    columns = ", ".join(f"{column} {type}" for column, type in types.items())
    return f"CREATE TABLE {name} ({columns}, changed {STAMP[kind]} NOT NULL, PRIMARY KEY (id))"


def retyped(kind: str, column: str, type: str, using: str) -> list[str]:
    """Another type for *column*; its values become *using*. SQLite can only do it by a copy."""
    if kind == "mysql":
        return [f"ALTER TABLE orders MODIFY COLUMN {column} {type}"]
    if kind == "postgres":
        return [f"ALTER TABLE orders ALTER COLUMN {column} TYPE {type} USING {using}"]
    types = PLAIN | {column: type}
    cells = ", ".join(using if name == column else name for name in [*types, "changed"])
    return [
        table(kind, types, "other"),
        f"INSERT INTO other SELECT {cells} FROM orders",
        "DROP TABLE orders",
        "ALTER TABLE other RENAME TO orders",
        "CREATE INDEX by_changed ON orders (changed, id)",
    ]


CHANGES: dict[str, Changes] = {
    "add": lambda _: [
        "ALTER TABLE orders ADD COLUMN extra VARCHAR(20)",
        "UPDATE orders SET extra = CAST(id AS CHAR(4))",
    ],
    "drop": lambda _: ["ALTER TABLE orders DROP COLUMN label"],
    "rename": lambda _: ["ALTER TABLE orders RENAME COLUMN label TO name"],
    "widen": lambda kind: [
        *retyped(kind, "price", "DECIMAL(12,4)", "price"),
        "UPDATE orders SET price = 1.2345 WHERE id = 2",
    ],
    "narrow": lambda kind: retyped(kind, "price", "DECIMAL(7,1)", "round(price, 1)"),
    "retype": lambda kind: retyped(kind, "label", "INTEGER", "CAST(label AS INTEGER)"),
}


@pytest.fixture
def shop(
    sql_server: Server, sqlite: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    return opened(sql_server, sqlite, monkeypatch)


@pytest.fixture
def small(sqlite: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The same on SQLite alone, for what does not depend on the database."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    return opened(sqlite, sqlite, monkeypatch)


@pytest.fixture
def strict(
    mariadb: Server, sqlite: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """The same where whole numbers have widths."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    return opened(mariadb, sqlite, monkeypatch)


def opened(server: Server, store: Server, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(server, server.fresh(), store.fresh(), {"page_rows": 3})
    shop.execute(table(server.kind, PLAIN), "CREATE INDEX by_changed ON orders (changed, id)")
    monkeypatch.setenv("AIRFLOW_CONN_TIDEGATE_STORE", store.uri(shop.store))
    sell(shop, 1, 4)
    return shop


def sell(shop: Shop, first: int, last: int, **more: Any) -> None:
    shop.insert(
        *(
            {"id": id, "label": str(1000 + id), "price": f"{id}.27",
             "changed": f"2026-03-01 12:00:{id:02}", **more}
            for id in range(first, last + 1)
        )
    )  # fmt: skip


def plainly(value: Any) -> Any:
    """A cell as text that does not depend on the driver: 1, 1.0 and 1.00 are one number."""
    if isinstance(value, float | int | Decimal):
        return format(Decimal(str(value)).normalize(), "f")
    return None if value is None else str(value)


def at_source(shop: Shop) -> dict[str, dict[str, Any]]:
    """Rows by key, as the source's bare driver gives them."""
    with shop.server.engine(shop.source).connect() as connection:
        found = connection.execute(sa.text("SELECT * FROM orders")).mappings().all()
    return {str(row["id"]): {name: plainly(row[name]) for name in row} for row in found}


def in_store(shop: Shop) -> dict[str, dict[str, Any]]:
    """Rows by key, as SQLite gives them; numbers are kept as texts there."""
    with closing(sqlite3.connect(str(shop.store.database))) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM shop__orders WHERE NOT _deleted").fetchall()
    rows = {}
    for row in found:
        cells = {name: row[name] for name in row.keys() if name[0] != "_"}  # noqa: SIM118
        if cells["price"] is not None:
            cells["price"] = plainly(Decimal(cells["price"]))
        rows[row["_key"]] = {name: plainly(cell) for name, cell in cells.items()}
    return rows


def agrees(shop: Shop, *, without: str = "", empty: str = "", renamed: bool = False) -> None:
    """The store is as the source: but for a column left *out*, and one *empty* in the store."""
    wanted, found = at_source(shop), in_store(shop)
    for row in wanted.values():
        del row["changed"]
        row.pop(without, None)
        if empty:
            row[empty] = None
        if renamed:
            row["label"] = row.pop("name")
    for row in found.values():
        del row["changed"]
    assert found == wanted


def agreed(store: Store) -> tuple[Agreed, ...]:
    """What the stream agreed on."""
    found = store.agreement("shop.orders")
    return found.columns if found else ()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None], int], None]:
    """``at(point, act, times)``: *act* happens there, so many times."""

    def arrange(point: str, act: Callable[[], None], times: int = 1) -> None:
        left = iter(range(times))

        def passed(name: str) -> None:
            if name == point and next(left, None) is not None:
                act()

        monkeypatch.setattr(faults, "point", passed)

    return arrange


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(
    ("change", "drift", "outcome", "helps"),
    OUTCOMES,
    ids=[f"{change}-{json.dumps(drift)}-{outcome}" for change, drift, outcome, _ in OUTCOMES],
)
def test_a_changed_table_has_the_outcome_that_its_drift_block_says(
    shop: Shop, at: Any, when: str, change: str, drift: dict[str, Any], outcome: str,
    helps: dict[str, Any],
) -> None:  # fmt: skip
    shop.run(drift=drift)
    agrees(shop)
    before = in_store(shop)
    sell(shop, 5, 5)
    statements = CHANGES[change](shop.source.kind)
    if when == "between runs":
        shop.execute(*statements)
    else:
        at("pull.page", lambda: shop.execute(*statements))
    new = "extra" if change == "add" else "name"
    shown: dict[str, Any] = {"renamed": True} if "renamed" in drift else {}
    if outcome == "stops":
        with pytest.raises(DriftError, match=told(change)):
            shop.run(drift=drift)
        assert in_store(shop) == before
        shown = helped(shop, change, drift, helps)
    else:
        shop.run(drift=drift)
        if outcome == "left out":
            agrees(shop, without=new, empty="label" if change == "rename" else "")
            assert asked(shop) == {new: "new"}
            shown = helped(shop, change, drift, helps)
        elif outcome == "NULL":
            shown = {"empty": "label"}
    agrees(shop, **shown)
    settled = shop.stored("count(*)", "shop__orders__history")
    assert shop.run(drift=drift | helps.get("drift", {}), **given(helps)).unchanged == 5
    assert shop.stored("count(*)", "shop__orders__history") == settled
    with shop.job().store() as store:
        assert store.verify() == []


def test_what_is_not_written_is_add_accept_drop_refuse_change_widen() -> None:
    assert Drift() == Drift(add="accept", drop="refuse", change="widen", renamed={})


def told(change: str) -> str:
    """What the error says, the way out included."""
    return {
        "add": r"column 'extra' \(string\) is new.*tidegate drift accept shop.orders extra",
        "drop": r"column 'label' \(string\) is gone.*drift: \{drop: keep\}",
        "rename": r"(drift: \{renamed: \{name: label\}\}|accept shop.orders name)",
        "widen": r"'price' was .*decimal\(8,2\) and is decimal\(12,4\).*\{change: widen\}",
        "narrow": r"'price' was .*decimal\(8,2\) and is decimal\(7,1\).*\{change: widen\}",
        "retype": r"'label' was string and is int(32|64) now.*types: \{label: string\}",
    }[change]


def given(helps: dict[str, Any]) -> dict[str, Any]:
    return {"types": helps["types"]} if "types" in helps else {}


def helped(shop: Shop, change: str, drift: dict[str, Any], helps: dict[str, Any]) -> dict[str, Any]:
    """Do what the message says, and run again; how the store then looks."""
    if "answer" in helps:
        column = "extra" if change == "add" else "name"
        assert cli.main(["drift", "accept", "shop.orders", column]) == 0
    shop.run(drift=drift | helps.get("drift", {}), **given(helps))
    if change == "rename":
        return {"renamed": True} if "drift" in helps else {"empty": "label"}
    return {"empty": "label"} if change == "drop" else {}


def asked(shop: Shop) -> dict[str, str]:
    with shop.job().store() as store:
        return {one.column: one.state for one in store.questions("shop.orders")}


# Moments of one run ------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["pull.leased", "pull.observed", "pull.page", "pull.read"])
def test_whenever_a_column_appears_the_increment_has_one_set_of_types(
    shop: Shop, at: Any, point: str
) -> None:
    shop.run()
    sell(shop, 5, 5)
    at(point, lambda: shop.execute(*CHANGES["add"](shop.source.kind)))
    increment = path.pull(shop.job(), shop.request())
    assert len(increment.pages) > 1
    (names,) = {tuple(page.column_names) for page in stage.pages(increment)}
    assert names[:5] == ("id", "label", "price", "changed", "extra")
    path.load(shop.job(), path.validate(shop.job(), path.clean(shop.job(), increment)))
    agrees(shop)


@pytest.mark.parametrize("change", ["add", "drop", "rename", "widen", "narrow", "retype"])
def test_what_is_staged_is_loaded_as_it_was_and_the_next_run_sees_the_change(
    shop: Shop, change: str
) -> None:
    shop.run()
    sell(shop, 5, 5)
    job, was = shop.job(), at_source(shop)
    increment = path.pull(job, shop.request())
    shop.execute(*CHANGES[change](shop.source.kind))
    path.load(job, path.validate(job, path.clean(job, increment)))
    now = {key: {**row, "changed": None} for key, row in in_store(shop).items()}
    assert now == {key: {**row, "changed": None} for key, row in was.items()}
    if change in {"add", "widen", "narrow"}:
        shop.run()
        agrees(shop)
    else:
        with pytest.raises(DriftError):
            shop.run()


def test_a_first_run_that_sees_a_change_agrees_to_what_is_there_then(shop: Shop, at: Any) -> None:
    at("pull.page", lambda: shop.execute(*CHANGES["drop"](shop.source.kind)))
    shop.run()
    agrees(shop)


def test_a_table_that_does_not_come_to_rest_is_left_for_later(shop: Shop, at: Any) -> None:
    shop.run()
    before = in_store(shop)
    sell(shop, 5, 5)
    numbers = iter(range(99))

    def grow() -> None:
        shop.execute(f"ALTER TABLE orders ADD COLUMN extra_{next(numbers)} INTEGER")

    at("pull.read", grow, pulling.RESTARTS + 1)
    request = shop.request()
    with pytest.raises(ChangedError, match=r"shop\.orders: the table changed while it was read"):
        path.run(shop.job(), request)
    assert next(numbers) == pulling.RESTARTS + 1
    assert in_store(shop) == before
    path.run(shop.job(), replace(request, attempt=2))
    agrees(shop)


def test_a_change_behind_the_last_restart_is_no_loss(shop: Shop, at: Any) -> None:
    shop.run()
    sell(shop, 5, 5)
    numbers = iter(range(99))
    at(
        "pull.read",
        lambda: shop.execute(f"ALTER TABLE orders ADD COLUMN extra_{next(numbers)} INTEGER"),
        pulling.RESTARTS,
    )
    shop.run()
    agrees(shop)


# What was agreed on ------------------------------------------------------------------------------


def test_a_column_that_comes_back_is_as_it_was_for_every_row(shop: Shop) -> None:
    keep = {"drop": "keep"}
    shop.run()
    shop.execute(*CHANGES["drop"](shop.source.kind))
    shop.run(drift=keep)
    agrees(shop, empty="label")
    shop.run()  # what is agreed on stays so, whatever the file says now
    shop.execute(
        "ALTER TABLE orders ADD COLUMN label VARCHAR(20)",
        "UPDATE orders SET label = CAST(2000 + id AS CHAR(4))",
    )
    shop.run(drift={"add": "refuse"}, lookback="0s")
    agrees(shop)
    with shop.job().store() as store:
        assert [one.column.name for one in agreed(store)] == [
            "id", "label", "price", "changed",
        ]  # fmt: skip


def test_a_column_that_comes_back_as_another_type_stops_the_run(shop: Shop) -> None:
    shop.run()
    shop.execute(*CHANGES["drop"](shop.source.kind))
    shop.run(drift={"drop": "keep"})
    shop.execute("ALTER TABLE orders ADD COLUMN label INTEGER")
    with pytest.raises(DriftError, match=r"'label' was string and is int"):
        shop.run()


def test_a_column_that_was_refused_stays_out_for_good(shop: Shop) -> None:
    shop.run()
    shop.execute(*CHANGES["add"](shop.source.kind))
    shop.run(drift={"add": "ask"})
    assert cli.main(["drift", "refuse", "shop.orders", "extra"]) == 0
    for policy in ("ask", "refuse", "accept"):
        shop.run(drift={"add": policy})
        agrees(shop, without="extra")
    shop.run(Mode.FULL)
    agrees(shop, without="extra")
    assert asked(shop) == {"extra": "refused"}
    assert cli.main(["drift", "accept", "shop.orders", "extra"]) == 0
    shop.run()
    agrees(shop)


def test_only_a_run_that_moves_the_watermark_agrees_to_a_column(small: Shop) -> None:
    small.run()
    small.execute(*CHANGES["add"]("sqlite"))
    for policy in ("accept", "ask", "refuse"):
        window = Window("2026-03-01T00:00:00.000000+00:00", "2026-03-02T00:00:00.000000+00:00")
        small.run(Mode.WINDOW, window, drift={"add": policy})
        agrees(small, without="extra")
        assert asked(small) == {}
    small.run(lookback="0s")
    agrees(small)


@pytest.mark.parametrize("change", ["add", "drop", "widen"])
@pytest.mark.parametrize("last", ["the increment", "the window"])
@pytest.mark.parametrize("newer", ["the increment", "the window"])
def test_a_window_beside_the_run_that_agrees_hides_no_value(
    small: Shop, change: str, last: str, newer: str
) -> None:
    window = Window("2026-03-01T00:00:00.000000+00:00", "2026-03-02T00:00:00.000000+00:00")
    job = small.job(lookback="0s", drift={"drop": "keep"})
    requests = {"the increment": small.request(), "the window": small.request(Mode.WINDOW, window)}

    def pulled(what: str) -> Increment:
        return path.validate(job, path.clean(job, path.pull(job, requests[what])))

    path.run(job, small.request())
    older = next(what for what in requests if what != newer)
    staged = {}
    if older == "the window":
        staged[older] = pulled(older)
        small.execute(*CHANGES[change]("sqlite"))
    else:
        small.execute(*CHANGES[change]("sqlite"))
        staged[older] = pulled(older)
    staged[newer] = pulled(newer)
    for what in sorted(staged, key=lambda what: what == last):
        if change == "widen" and older == last == what == "the window":
            with pytest.raises(ConfigError, match="run it again"):
                path.load(job, staged[what])
        else:
            path.load(job, staged[what])
    path.run(job, small.request())
    agrees(small, empty="label" if change == "drop" else "")
    assert path.run(job, small.request()).pulled == 0


def test_a_run_that_dies_after_it_agreed_leaves_the_reading_to_the_next(
    small: Shop, at: Any
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    small.run(lookback="0s")
    small.execute(*CHANGES["add"]("sqlite"))
    at("pull.observed", lambda: at("pull.page", die))
    with pytest.raises(KeyboardInterrupt):
        small.run(lookback="0s")
    with small.job().store() as store:
        found = store.agreement("shop.orders")
        assert found is not None
        assert found.pending
        assert "extra" in {one.column.name for one in found.columns}
    assert small.run(lookback="0s").updated == 4
    agrees(small)
    assert small.run(lookback="0s").pulled == 0


def test_a_dropped_column_is_null_in_windows_too(small: Shop) -> None:
    small.run()
    small.execute(*CHANGES["drop"]("sqlite"))
    window = Window("2026-03-01T00:00:00.000000+00:00", "2026-03-02T00:00:00.000000+00:00")
    with pytest.raises(DriftError, match=r"'label' .* is gone"):
        small.run(Mode.WINDOW, window)
    small.run(Mode.WINDOW, window, drift={"drop": "keep"})
    agrees(small, empty="label")
    with pytest.raises(DriftError, match=r"'label' .* is gone"):
        small.run()


def test_a_new_column_is_filled_even_where_nothing_is_new(shop: Shop) -> None:
    shop.run(lookback="0s")
    shop.execute(*CHANGES["add"](shop.source.kind))
    report = shop.run(lookback="0s")
    assert (report.pulled, report.updated) == (4, 4)
    agrees(shop)
    assert shop.run(lookback="0s").pulled == 0


def test_other_widths_of_whole_numbers_change_no_row(strict: Shop) -> None:
    shop = strict
    shop.execute("ALTER TABLE orders ADD COLUMN n INTEGER")
    sell(shop, 5, 5, n=7)
    shop.run(lookback="0s")
    shop.execute("ALTER TABLE orders MODIFY COLUMN n BIGINT, MODIFY COLUMN id BIGINT")
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
    sell(shop, 6, 6, n=2**40, changed=now)
    report = shop.run(lookback="0s")
    assert (report.inserted, report.updated) == (1, 0)
    agrees(shop)
    shop.execute(
        "UPDATE orders SET n = 8, changed = UTC_TIMESTAMP(6)",
        "ALTER TABLE orders MODIFY COLUMN n SMALLINT",
    )
    shop.run(lookback="0s")
    agrees(shop)
    with shop.job().store() as store:
        types = {one.column.name: (str(one.column.type), str(one.seen))
                 for one in agreed(store)}  # fmt: skip
    assert (types["id"], types["n"]) == (("int64", "int64"), ("int64", "int16"))


# Keys and cursors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("RENAME COLUMN changed TO changed_at", r"cursor: .* no column 'changed'.* 'changed_at'"),
        ("RENAME COLUMN id TO number", r"primary_key: 'orders' has no column 'id'"),
    ],
)
@pytest.mark.parametrize("when", WHEN)
def test_without_its_key_or_cursor_a_stream_says_so(
    shop: Shop, at: Any, when: str, statement: str, message: str
) -> None:
    shop.run()
    if when == "between runs":
        shop.execute(f"ALTER TABLE orders {statement}")
    else:
        at("pull.page", lambda: shop.execute(f"ALTER TABLE orders {statement}"))
    with pytest.raises(ConfigError, match=message):
        shop.run(drift={"drop": "keep"})
    _, _, old, _, new = statement.split()
    shop.run(drift={"renamed": {new: old}})
    assert set(in_store(shop)) == {str(id) for id in range(1, 5)}


def test_a_key_or_cursor_of_another_type_stops_the_run(strict: Shop) -> None:
    shop = strict
    shop.run()
    for column, type, old, role in (
        ("id", "VARCHAR(9)", "INTEGER NOT NULL", "primary key"),
        ("id", "DECIMAL(9,2)", "INTEGER NOT NULL", "primary key"),
        ("changed", "DATE NOT NULL", "DATETIME(6) NOT NULL", "cursor"),
    ):
        shop.execute(f"ALTER TABLE orders MODIFY COLUMN {column} {type}")
        with pytest.raises(DriftError, match=f"column '{column}' was .* it is the {role}"):
            shop.run()
        shop.execute(f"ALTER TABLE orders MODIFY COLUMN {column} {old}")
    shop.run()


def test_a_rename_may_be_written_down_before_it_happens(shop: Shop, at: Any) -> None:
    drift = {"renamed": {"name": "label"}}
    shop.run(drift=drift)
    agrees(shop)
    sell(shop, 5, 5)
    at("pull.page", lambda: shop.execute(*CHANGES["rename"](shop.source.kind)))
    assert shop.run(drift=drift).unchanged == 4
    agrees(shop, renamed=True)


def test_a_rename_that_is_found_out_later_is_mended_by_the_file(shop: Shop) -> None:
    shop.run()
    shop.execute(*CHANGES["rename"](shop.source.kind))
    shop.run(drift={"drop": "keep"})
    agrees(shop, empty="label")
    shop.run(drift={"renamed": {"name": "label"}})
    found = in_store(shop)
    assert [found[key]["label"] for key in "123"] == ["1001", "1002", "1003"]
    with shop.job().store() as store:
        assert "name" not in {one.column.name for one in agreed(store)}


# Questions ---------------------------------------------------------------------------------------


def test_a_question_is_withdrawn_when_its_column_goes_or_the_file_answers_it(small: Shop) -> None:
    small.run()
    small.execute("ALTER TABLE orders ADD COLUMN extra INTEGER")
    small.run(drift={"add": "ask"})
    assert asked(small) == {"extra": "new"}
    small.execute("ALTER TABLE orders DROP COLUMN extra")
    small.run(drift={"add": "ask"})
    assert asked(small) == {}
    small.execute("ALTER TABLE orders ADD COLUMN extra INTEGER")
    small.run(drift={"add": "ask"})
    assert asked(small) == {"extra": "new"}
    small.run()
    assert asked(small) == {}
    agrees(small)


@pytest.mark.parametrize("name", ["{brace}", "a:b", "100%", 'se"lect', "it's", "Größe €"])
def test_columns_may_be_called_anything(shop: Shop, name: str) -> None:
    shop.run(drift={"add": "ask"})
    quoted = f"`{name}`" if shop.source.kind == "mysql" else '"' + name.replace('"', '""') + '"'
    shop.execute(f"ALTER TABLE orders ADD COLUMN {quoted} INTEGER DEFAULT 7")
    shop.run(drift={"add": "ask"})
    agrees(shop, without=name)
    assert cli.main(["drift", "accept", "shop.orders", name]) == 0
    shop.run(drift={"add": "ask"})
    agrees(shop)
    shop.execute(f"ALTER TABLE orders DROP COLUMN {quoted}")
    with pytest.raises(DriftError, match="is gone"):
        shop.run(drift={"add": "ask"})
    shop.run(drift={"drop": "keep"})
    agrees(shop, empty=name)


def test_the_shell_shows_columns_and_questions_and_takes_answers(
    small: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    small.run()
    small.execute(*CHANGES["add"]("sqlite"))
    small.run(drift={"add": "ask"})
    assert cli.main(["drift"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:3] for line in out.splitlines()[1:5]] == [
        ["shop.orders", "id", "int64"], ["shop.orders", "label", "string"],
        ["shop.orders", "price", "decimal(8,2)"], ["shop.orders", "changed", "datetime"],
    ]  # fmt: skip
    assert "shop.orders  extra   string  new" in out
    assert cli.main(["drift", "accept", "shop.orders", "extre"]) == 2
    assert "Did you mean 'extra'?" in capsys.readouterr().err
    assert cli.main(["drift", "refuse", "shop.orders", "label"]) == 2
    assert "'label' is read already" in capsys.readouterr().err
    assert cli.main(["drift", "accept", "shop.orders", "extra", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["state"], answer["answered_by"].endswith("(shell)")) == ("accepted", True)
    small.run()
    assert cli.main(["drift", "list", "shop.orders", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    names = [column["name"] for column in shown["agreed"]["shop.orders"]]
    assert names == ["id", "label", "price", "changed", "extra"]
    assert [question["state"] for question in shown["questions"]] == ["accepted"]
    assert cli.main(["drift", "refuse", "shop.orders", "extra"]) == 2


def test_a_column_that_is_gone_still_feeds_cleaning_and_expectations(small: Shop) -> None:
    fields: dict[str, Any] = {
        "drift": {"drop": "keep"},
        "clean": [{"fill_missing": {"columns": ["label"], "value": "none"}}],
        "expect": [{"expect_column_values_to_not_be_null": {"column": "label"}}],
        "load": {"entities": [{"type": "Order", "key": "id", "attributes": ["label"]}]},
    }
    small.run(**fields)
    small.execute(*CHANGES["drop"]("sqlite"))
    assert small.run(**fields).updated == 4
    assert {row["label"] for row in in_store(small).values()} == {"none"}

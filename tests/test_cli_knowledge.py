"""Asking the store from a shell: tables for people, JSON for machines, hints for both."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from test_cli import Shell

FILE = """\
connection: some_shop
defaults: {lookback: 36500d}
streams:
  orders:
    table: orders
    primary_key: id
    cursor: changed
    deleted: {column: gone}
    load:
      entities:
        - {type: Order, key: id, name: "Order {id}", attributes: [total, note]}
        - {type: Customer, key: customer, attributes: {last: changed}}
      relations:
        - {type: PLACED, from: Customer, to: Order, qualifiers: [total]}
        - {type: SENT_TO, from: Order, to: {type: City, key: city}}
  people:
    table: people
    primary_key: name
    cursor: changed
    trust: 80
    load:
      entities:
        - {type: Customer, key: name, attributes: {last: changed}}
"""


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Two commits of orders and one of people."""
    source = tmp_path / "source.db"
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_SOME_SHOP", f"sqlite:///{source}")
    monkeypatch.delenv("AIRFLOW_CONN_TIDEGATE_STORE", raising=False)
    folder = tmp_path / "pipelines"
    folder.mkdir()
    shell = Shell(folder, source, capsys)
    shell.write("shop.yaml", FILE)
    shell.sql(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total DECIMAL(12,2), "
        "note TEXT, city TEXT, gone BOOLEAN, changed DATETIME NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed, id)",
        "INSERT INTO orders VALUES (1, 'ann', '1.50', 'two\nlines', 'Rome', false, '2026-03-01'), "
        "(12345, 'ann', '9.00', NULL, 'Oslo', false, '2026-03-02')",
        "CREATE TABLE people (name TEXT PRIMARY KEY, changed DATETIME NOT NULL)",
        "CREATE INDEX by_person ON people (changed, name)",
        "INSERT INTO people VALUES ('ann', '2026-03-05')",
    )
    shell.json("run", "shop.orders")
    shell.sql("UPDATE orders SET total = '2.50', changed = '2026-03-03' WHERE id = 1")
    shell.json("run", "shop.orders")
    shell.json("run", "shop.people")
    return shell


def test_show_tells_an_entity_and_its_neighbours(shell: Shell) -> None:
    code, out, err = shell("show", "Order", "1")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "Order 1 · Order 1, at commit 3",
        '  note   "two\\nlines"',
        "  total  2.50",
        "  from shop.orders 1",
        "",
        "relation  from          to         qualifiers  statements",
        "PLACED    Customer ann  Order 1    total=2.50  1",
        "SENT_TO   Order 1       City Rome              1",
    ]
    assert "(only mentioned)" in shell("show", "City", "Oslo")[1]
    assert "give a larger --limit" in shell("show", "Customer", "ann", "--limit", "1")[1]
    told = shell.json("show", "Customer", "ann", "--depth", "2", "--relation", "PLACED")
    assert (told["key"], told["seq"], told["stub"]) == ("ann", 3, False)
    assert told["attributes"] == {"last": "2026-03-05T00:00:00"}
    assert [edge["to_key"] for edge in told["neighbours"]["edges"]] == ["1", "12345"]


def test_show_tells_a_record_as_it_was(shell: Shell) -> None:
    code, out, _ = shell("show", "shop.orders", "12345")
    assert code == 0
    lines = out.splitlines()
    assert lines[:2] == ["shop.orders 12345, at commit 3", "  id        12345"]
    assert lines[-1].startswith("  since commit 1, 20")
    before = shell.json("show", "shop.orders", "1", "--as-of-seq", "1")
    assert (before["seq"], before["version"]["row"]["total"]) == (1, "1.50")
    at = before["version"]["committed_at"]
    assert shell.json("show", "Order", "1", "--as-of", at)["attributes"]["total"] == "1.50"
    valid = shell.json("show", "shop.orders", "1", "--valid", "2026-03-02")
    assert (valid["seq"], valid["version"]["row"]["total"]) == (3, "1.50")
    shell.sql("UPDATE orders SET gone = true, changed = '2026-03-04' WHERE id = 1")
    shell.json("run", "shop.orders")
    assert shell("show", "shop.orders", "1")[1].startswith("shop.orders 1 (deleted), at commit 4")


def test_history_lists_every_version(shell: Shell) -> None:
    code, out, err = shell("history", "shop.orders", "1")
    assert (code, err) == (0, "")
    head, columns, first, second = out.splitlines()
    assert head == "shop.orders 1, at commit 3"
    assert columns.split() == ["since", "until", "valid", "run_id", "version"]
    assert first.startswith("1      2      2026-03-01T00:00:00+00:00  shell__")
    assert "total=1.50  " in first
    assert second.startswith("2             2026-03-03")
    assert [one["stream"] for one in shell.json("history", "Customer", "ann")] == [
        "shop.people", "shop.orders",
    ]  # fmt: skip


def test_why_names_the_source_table_and_the_run(shell: Shell) -> None:
    code, out, err = shell("why", "Customer", "ann")
    assert (code, err) == (0, "")
    columns, winner, loser = out.splitlines()
    assert columns.split()[:6] == ["attribute", "value", "wins", "stream", "table", "record"]
    assert winner.split()[:6] == [
        "last", "2026-03-05T00:00:00", "yes", "shop.people", "people", "ann",
    ]  # fmt: skip
    assert loser.split()[2:6] == ["no", "shop.orders", "orders", "1"]
    told = shell.json("why", "Order", "1", "total")["tellings"]
    assert [(one["value"], one["since"], one["table"]) for one in told] == [("2.50", 2, "orders")]
    assert told[0]["run_id"].startswith("shell__")
    (shell.folder / "shop.yaml").unlink()
    assert shell.json("why", "Order", "1", "total")["tellings"][0]["table"] is None


def test_changes_are_paged_and_say_how_to_go_on(shell: Shell) -> None:
    code, out, err = shell("changes", "--limit", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["seq", "op", "stream", "key"], ["1", "insert", "shop.orders", "1"],
        ["1", "insert", "shop.orders", "12345"],
    ]  # fmt: skip
    cursor = lines[-1].split()[1]
    assert lines[-1].endswith("goes on")
    page = shell.json("changes", "--since", cursor, "--rows")
    assert [(one["seq"], one["op"], one["key"]) for one in page["changes"]] == [
        (2, "update", "1"), (3, "insert", "ann"),
    ]  # fmt: skip
    assert (page["cursor"], page["more"]) == ("3", False)
    first = page["changes"][0]
    assert (first["row_before"]["total"], first["row"]["total"]) == ("1.50", "2.50")
    assert "total=2.50" in shell("changes", "shop.orders", "--since", "1", "--rows")[1]
    assert [one["seq"] for one in shell.json("changes", "shop.people")["changes"]] == [3]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "Custommer", "ann"], 2, "Did you mean 'Customer'?"),
        (["show", "shop.order", "1"], 2, "Did you mean 'shop.orders'?"),
        (["show", "Customer", "bob"], 1, "Customer 'bob': the store knows nothing of it"),
        (["show", "shop.orders", "7"], 1, "shop.orders '7': the store knows nothing of it"),
        (["show", "Customer", "ann", "--as-of-seq", "9"], 3, "at commit 3, not at 9"),
        (["show", "Customer", "ann", "--as-of-seq", "-1"], 2, "there is no commit -1"),
        (["show", "Customer", "ann", "--as-of", "0001-01-01T00:00+05:00"], 2, "years 1 and 9999"),
        (["show", "Customer", "ann", "--as-of", "noon"], 2, "'noon' is not a time"),
        (["show", "Customer", "ann", "--relation", "PLACES"], 2, "Did you mean 'PLACED'?"),
        (["history", "shop.orders", "7"], 1, "knows nothing of it at commit 3"),
        (["why", "Customer", "ann", "lst"], 2, "Did you mean 'last'?"),
        (["why", "Customer", "bob"], 1, "Customer 'bob': the store knows nothing of it"),
        (["changes", "shop.poeple"], 2, "Did you mean 'shop.people'?"),
        (["changes", "--since", "x"], 2, "not a cursor"),
    ],
)
def test_what_cannot_be_answered_is_said_plainly(
    shell: Shell, arguments: list[str], code: int, message: str
) -> None:
    found, out, err = shell(*arguments)
    assert (found, out) == (code, "")
    assert message in err


def test_many_values_told_in_different_types_are_all_shown(shell: Shell) -> None:
    shell.write("vocabulary.yaml", "types: {Customer: {attributes: {codes: {many: true}}}}")
    changed = FILE.replace("attributes: {last: changed}", "attributes: {codes: total}", 1)
    shell.write("shop.yaml", changed.replace("{last: changed}", "{codes: name}"))
    assert shell("derive")[0] == 0
    told = shell.json("show", "Customer", "ann")
    assert told["attributes"] == {"codes": ["2.50", "9.00", "ann"]}


def test_names_are_shown_on_one_line(shell: Shell) -> None:
    shell.write("shop.yaml", FILE.replace('"Order {id}"', '"Order {id}: {note}"'))
    assert shell("derive")[0] == 0
    first = shell("show", "Order", "1", "--as-of-seq", "1")[1].splitlines()[0]
    assert first == r'Order 1 · "Order 1: two\nlines", at commit 1'


def test_history_that_was_trimmed_is_refused(shell: Shell, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "home" / "store.db")) as store, store:
        store.execute("UPDATE tidegate_head SET horizon = 2")
    for arguments in (["changes"], ["show", "Order", "1", "--as-of-seq", "1"]):
        code, out, err = shell(*arguments)
        assert (code, out) == (1, "")
        assert "history up to commit 2 was trimmed" in err

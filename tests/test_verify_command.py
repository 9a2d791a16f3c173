"""``tidegate verify`` in a shell: what it says, and how it ends."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tidegate import cli

FILE = """\
connection: some_shop
defaults: {lookback: 0}
streams:
  orders: {table: orders, primary_key: id, cursor: changed}
  items: {table: items, primary_key: id, cursor: changed}
  notes: {table: notes, primary_key: id, cursor: changed, verify: {enabled: false}}
"""


class Shell:
    """``tidegate`` over three small tables, two of them loaded."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)"""
        try:
            code = cli.main(["--pipelines", str(self.folder / "files"), *arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        text = self.capture.readouterr()
        return code, text.out, text.err

    def said(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """The exit code, and the JSON it printed."""
        code, out, _ = self(*arguments, "--json")
        return code, json.loads(out)

    def sql(self, *statements: str) -> None:
        """On the source."""
        with closing(sqlite3.connect(self.folder / "source.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_SOME_SHOP", f"sqlite:///{tmp_path / 'source.db'}")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "shop.yaml").write_text(FILE, encoding="utf-8")
    shell = Shell(tmp_path, capsys)
    for table in ("orders", "items", "notes"):
        shell.sql(
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, total TEXT, changed INTEGER)",
            f"CREATE INDEX {table}_changed ON {table} (changed)",
            *(f"INSERT INTO {table} VALUES ({n}, '{n}', {n})" for n in range(1, 41)),
        )
    for stream in ("shop.orders", "shop.items"):
        assert shell("run", stream)[0] == 0
    return shell


def test_every_enabled_stream_is_verified_and_0_means_that_all_is_well(shell: Shell) -> None:
    code, out, err = shell("verify")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.split() == ["stream", "verified", "compared", "listed", "differing", "repaired",
                            "tombstoned", "touched", "seconds", "note"]  # fmt: skip
    assert [line.split()[:3] for line in lines] == [
        ["shop.orders", "True", "40"], ["shop.items", "True", "40"],
    ]  # fmt: skip
    (_, status) = json.loads(shell("status", "--json")[1])["streams"]
    assert (status["verified_through"], status["repaired"]) == (40, 0)


def test_what_differs_is_reported_or_repaired(shell: Shell) -> None:
    shell.sql("UPDATE orders SET total = 'x' WHERE id = 5", "DELETE FROM orders WHERE id = 6")
    code, result = shell.said("verify", "shop.orders", "--no-repair")
    assert (code, result[0]["differing"], result[0]["note"]) == (1, 2, "2 rows differ")
    code, result = shell.said("verify", "shop.orders")
    found = [result[0][name] for name in ("verified", "differing", "repaired", "tombstoned")]
    assert (code, found) == (0, [True, 2, 1, 1])


def test_the_brake_of_one_stream_keeps_no_other_from_being_verified(shell: Shell) -> None:
    shell.sql("DELETE FROM orders WHERE id > 10")
    code, out, err = shell("verify")
    assert code == 1
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["shop.items", "True"]]
    assert "30 of the store's 40 rows are gone" in err
    code, results = shell.said("verify")
    assert (code, [item["verified"] for item in results]) == (1, [True, False])
    assert shell("verify", "shop.orders", "--allow-deletes", "30", "--again")[0] == 0


def test_an_error_of_one_stream_keeps_no_other_from_being_verified(shell: Shell) -> None:
    shell.sql("ALTER TABLE orders RENAME COLUMN total TO sum")
    code, out, err = shell("verify")
    assert code == 2
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["shop.items", "True"]]
    assert err.startswith("tidegate: shop.orders: the table's columns are not those agreed on.")
    shell.sql("DELETE FROM items WHERE id > 10")
    code, results = shell.said("verify")  # what the rows say matters most
    assert (code, [item["verified"] for item in results]) == (1, [False, False])


def test_the_brakes_advice_helps_where_nothing_else_is_repaired(shell: Shell) -> None:
    file = shell.folder / "files" / "shop.yaml"
    file.write_text(FILE.replace("enabled: false", "enabled: false, repair: false"))
    assert shell("run", "shop.notes")[0] == 0
    shell.sql("DELETE FROM notes WHERE id > 10")
    code, result = shell.said("verify", "shop.notes")
    assert (code, result[0]["differing"], result[0]["tombstoned"]) == (1, 30, 0)
    code, result = shell.said("verify", "shop.notes", "--allow-deletes", "29")
    advice = result[0]["note"].partition("run: tidegate ")[2]
    assert (code, advice) == (1, "verify shop.notes --allow-deletes 30.")  # it is in no DAG
    code, result = shell.said(*advice.removesuffix(".").split())
    assert (code, result[0]["tombstoned"]) == (0, 30)


def test_a_stream_that_has_not_run_is_not_verified(shell: Shell) -> None:
    code, out, _ = shell("verify", "shop.notes")
    assert code == 1
    assert "the stream has not run yet" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop.order"], "no stream 'shop.order'. Did you mean 'shop.orders'?"),
        (["--no-repair", "--allow-deletes", "1"], "not allowed with argument --no-repair"),
        (["--allow-deletes", "-1"], "'-1' is not a number of rows"),
        (["--allow-deletes", "many"], "'many' is not a number of rows. Write 0 or more"),
    ],
)
def test_wrong_usage_ends_with_2(shell: Shell, arguments: list[str], message: str) -> None:
    code, _, err = shell("verify", *arguments)
    assert code == 2
    assert message in err

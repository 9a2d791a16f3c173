"""The doctor from a shell, before a first run, and in its document."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tidegate import cli, path, preflight
from tidegate.cli.pipelines import job
from tidegate.errors import ConfigError, RefusedError
from tidegate.job import Job
from tidegate.model import Mode, Request
from tidegate.sources.sql.doctor import checks

DOCUMENT = Path(__file__).parents[1] / "docs" / "doctor.md"
SOURCES = Path(__file__).parents[1] / "include" / "tidegate" / "sources"
FILE = """\
connection: some_shop
streams:
  orders: {table: orders, primary_key: id, cursor: changed}
  lines: {table: lines, primary_key: id, cursor: changed}
"""
STAMPED = (
    (
        "CREATE TABLE {0} (id INTEGER PRIMARY KEY, changed DATETIME NOT NULL "
        "DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')))"
    ),
    "CREATE INDEX {0}_by_changed ON {0} (changed, id)",
    "INSERT INTO {0} VALUES (1, '2026-03-01 10:00:00.5')",
)
TRIGGER = (
    "CREATE TRIGGER {0}_stamp AFTER UPDATE ON {0} WHEN NEW.changed = OLD.changed BEGIN "
    "UPDATE {0} SET changed = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = NEW.id; END"
)


class Shop:
    """Two tables; ``orders`` lacks a trigger, ``lines`` nothing."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.source = folder / "source.db"
        self._capture = capture
        (folder / "shop.yaml").write_text(FILE, encoding="utf-8")
        self.sql(*(text.format("orders") for text in STAMPED))
        self.sql(*(text.format("lines") for text in (*STAMPED, TRIGGER)))

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.source)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def __call__(self, *arguments: str) -> tuple[int, str]:
        code = cli.main(["--pipelines", str(self.folder), *arguments])
        return code, self._capture.readouterr().out

    def job(self, name: str) -> Job:
        class Options:
            pipelines = self.folder

        return job(Options, name)


@pytest.fixture
def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shop:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_SOME_SHOP", f"sqlite:///{tmp_path / 'source.db'}")
    monkeypatch.delenv("AIRFLOW_CONN_TIDEGATE_STORE", raising=False)
    monkeypatch.delenv("TIDEGATE_STAGE", raising=False)
    return Shop(tmp_path, capsys)


def test_each_finding_comes_with_what_to_do(shop: Shop) -> None:
    code, out = shop("doctor", "shop.orders")
    assert code == 0
    assert out.startswith("shop.orders: 1 warning\n\n  ! not-stamped\n    cursor: the server does")
    assert "    → Have the server stamp it" in out
    assert "      CREATE TRIGGER stamp_orders" in out
    assert all(len(line) <= 100 for line in out.splitlines())


def test_what_is_healthy_is_said_to_be(shop: Shop) -> None:
    assert shop("doctor", "shop.lines") == (0, "shop.lines: healthy\n")


def test_without_a_name_every_stream_is_looked_at(shop: Shop) -> None:
    code, out = shop("doctor")
    assert code == 0
    assert re.findall(r"^shop\.\w+: .*", out, re.MULTILINE) == [
        "shop.orders: 1 warning",
        "shop.lines: healthy",
    ]


def test_an_error_ends_with_1(shop: Shop) -> None:
    shop.sql("DROP INDEX orders_by_changed")
    code, out = shop("doctor", "shop.orders")
    assert code == 1
    assert out.startswith("shop.orders: 1 error, 1 warning\n\n  ✗ no-index\n")


def test_machines_get_json(shop: Shop) -> None:
    code, out = shop("doctor", "--json")
    assert code == 0
    orders, lines = json.loads(out)
    assert (lines["stream"], lines["findings"]) == ("shop.lines", [])
    (finding,) = orders["findings"]
    assert (finding["level"], finding["code"]) == ("warning", "not-stamped")
    assert finding["what"].startswith("shop.orders: ")
    assert finding["todo"]


def test_a_first_run_with_an_error_is_refused_and_stages_nothing(shop: Shop) -> None:
    shop.sql("DROP INDEX orders_by_changed")
    todo = shop.job("shop.orders")
    with pytest.raises(ConfigError, match="no index begins with the cursor") as refused:
        path.pull(todo, Request(todo.full_name, "one"))
    shop.sql(str(refused.value).splitlines()[-1])
    assert path.run(todo, Request(todo.full_name, "two")).inserted == 1


def test_a_first_run_tells_all_its_errors_at_once(shop: Shop) -> None:
    shop.sql("DROP INDEX orders_by_changed", "ALTER TABLE orders ADD later DATETIME",
             "INSERT INTO orders (id) VALUES (2)")  # fmt: skip
    shop.folder.joinpath("shop.yaml").write_text(
        FILE.replace("cursor: changed}", "cursor: later, null_cursor: fail}", 1), encoding="utf-8"
    )
    todo = shop.job("shop.orders")
    with pytest.raises(ConfigError) as refused:
        path.pull(todo, Request(todo.full_name, "one"))
    told = str(refused.value)
    assert told.startswith("shop.orders: 2 errors\n- shop.orders: no index begins")
    assert "(null-cursor)" in told


def test_warnings_of_a_first_run_are_logged_and_noted_and_later_runs_are_not_delayed(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    todo = shop.job("shop.orders")
    first = path.pull(todo, Request(todo.full_name, "one"))
    assert [note.split(":")[0] for note in first.notes] == ["not-stamped"]
    assert "the server does not stamp 'changed'" in caplog.text
    assert "tidegate doctor shop.orders" in caplog.text
    path.load(todo, path.validate(todo, path.clean(todo, first)))
    caplog.clear()
    again = path.pull(todo, Request(todo.full_name, "two", mode=Mode.FULL))
    assert again.notes == ()
    assert caplog.text == ""


def test_a_first_run_is_refused_in_the_words_of_what_failed(shop: Shop) -> None:
    shop.source.unlink()
    todo = shop.job("shop.orders")
    with pytest.raises(RefusedError, match="there is no file"):
        preflight.admit(todo)


@pytest.mark.parametrize("name", ["doctor", "verify"])
def test_no_stream_can_take_the_place_of_a_source_s_own_dag(shop: Shop, name: str) -> None:
    file = shop.folder / "shop.yaml"
    file.write_text(FILE.replace("  lines:", f"  {name}:"), encoding="utf-8")
    code, out = shop("check")
    assert code == 2
    assert f"'{name}' cannot be the name of a stream: each source has a DAG of that name" in out


def test_no_source_can_take_the_place_of_the_store_s_own_dags(shop: Shop) -> None:
    (shop.folder / "shop.yaml").rename(shop.folder / "tidegate.yaml")
    code, out = shop("check")
    assert code == 2
    assert "'tidegate' cannot be the name of a source: Tidegate's own DAGs have it." in out


LINE = re.compile(r"^\| `([a-z-]+)` \| (\w+) \|", re.MULTILINE)


def test_the_document_has_a_line_for_each_code_and_no_other() -> None:
    whole = DOCUMENT.read_text("utf-8")
    others = whole[whole.index("## Other kinds") : whole.index("## When it cannot")]
    told = dict(LINE.findall(whole.replace(others, "")))
    known = {code for _, _, codes in checks.CHECKS for code in codes}
    known |= {code for _, code in checks.FAILURES} | {"not-seen"}
    assert set(told) == known
    assert set(told.values()) == {"error", "warning", "note"}
    assert dict(LINE.findall(others)).keys() == dict(found_by_other_kinds()).keys() - known


def test_the_document_says_how_bad_it_is_for_other_kinds() -> None:
    whole = DOCUMENT.read_text("utf-8")
    told = dict(LINE.findall(whole))
    for code, levels in found_by_other_kinds():
        assert told[code] in levels or None in levels, code


def found_by_other_kinds() -> list[tuple[str, set[str | None]]]:
    """Code, and levels, of each Finding in the modules of all kinds but SQL's."""
    found: dict[str, set[str | None]] = {}
    for module in SOURCES.rglob("*.py"):
        if "sql" in module.parts:
            continue
        for call in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Finding":
                level, _, code, *_ = (getattr(argument, "value", None) for argument in call.args)
                found.setdefault(str(code), set()).add(level)
    return sorted(found.items())

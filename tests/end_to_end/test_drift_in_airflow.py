"""New columns in the real Airflow: somebody is asked; what is accepted arrives for all rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import services
from airflows import Airflow, metadata
from tidegate import cli

FILE = """\
connection: shop_db
defaults: {schedule: 1h, retries: 0, lookback: 0, drift: {add: ask}}
streams:
  orders: {table: orders, primary_key: id, cursor: changed}
  customers: {table: customers, primary_key: id, cursor: changed}
"""
DRIFT = "tidegate.drift"
HOSTILE = "{{ 1 + 1 }} `x`"


def _sqlite(file: Path) -> str:
    return json.dumps({"conn_type": "sqlite", "schema": str(file)})


class Place:
    """An Airflow over a source and a store in SQLite files."""

    def __init__(self, folder: Path, postgres: services.Server) -> None:
        self.source, self.store = folder / "source.db", folder / "store.db"
        files = folder / "files"
        files.mkdir()
        (files / "shop.yaml").write_text(FILE, encoding="utf-8")
        for table in ("orders", "customers"):
            self.execute(
                f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, changed INTEGER)",
                f"CREATE INDEX by_{table} ON {table} (changed)",
                f"INSERT INTO {table} VALUES (1, 1), (2, 2), (3, 3)",
            )
        self.metadata = metadata(postgres)
        self.airflow = Airflow(
            folder,
            files,
            {
                "AIRFLOW_CONN_SHOP_DB": _sqlite(self.source),
                "AIRFLOW_CONN_TIDEGATE_STORE": _sqlite(self.store),
                "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
                "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
                **self.metadata,
            },
        )

    def execute(self, *statements: str) -> None:
        """On the source."""
        with sqlite3.connect(self.source) as source:
            for statement in statements:
                source.execute(statement)

    def stored(self, query: str) -> list[tuple[Any, ...]]:
        """What the store says."""
        with sqlite3.connect(f"file:{self.store}?mode=ro", uri=True) as store:
            return store.execute(query).fetchall()

    def asked(self, count: int) -> list[dict[str, Any]]:
        """The questions that wait for an answer, by subject, as soon as there are *count*."""
        path = f"/api/v2/dags/{DRIFT}/dagRuns/~/hitlDetails"

        def waiting() -> list[dict[str, Any]] | None:
            details = self.airflow.call("GET", path, state="awaiting_input")["hitl_details"]
            found = [one for one in details if not one["response_received"]]
            return sorted(found, key=lambda one: one["subject"]) if len(found) == count else None

        found: list[dict[str, Any]] = self.airflow.wait(f"{count} questions", waiting)
        return found

    def answer(self, detail: dict[str, Any], option: str) -> None:
        """Choose *option*, as a person does in the browser, until the task has taken it.

        Airflow starts a task anew that is answered within the second in which it began to wait.
        """
        task = detail["task_instance"]
        path = (
            f"/api/v2/dags/{DRIFT}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
            f"/{task['map_index']}"
        )

        def taken() -> bool:
            state = self.airflow.call("GET", path)["state"]
            asked = self.airflow.call("GET", f"{path}/hitlDetails")
            if state == "awaiting_input" and not asked["response_received"]:
                body = {"chosen_options": [option], "params_input": {}}
                self.airflow.call("PATCH", f"{path}/hitlDetails", body)
            return bool(state == "success")

        self.airflow.wait(f"{option} for {detail['subject']}", taken)

    def outcome(self, detail: dict[str, Any]) -> str:
        """How the run of a question ended."""
        return self.airflow.outcome(DRIFT, detail["task_instance"]["dag_run_id"])

    def forget_patience(self) -> None:
        """Let every question have waited for as long as it may."""
        engine = sa.create_engine(self.metadata["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE task_instance SET trigger_timeout = now() - interval '1 second' "
                "WHERE state = 'awaiting_input'"
            )
        engine.dispose()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, postgres: services.Server) -> Iterator[Place]:
    opened = Place(tmp_path_factory.mktemp("airflow"), postgres)
    try:
        opened.airflow.wait_for_dags("shop.orders", "shop.customers", DRIFT)
        for dag in ("shop.orders", "shop.customers"):
            opened.airflow.pause(dag, paused=False)
            assert opened.airflow.run(dag) == "success"
        yield opened
    finally:
        opened.airflow.close()


def test_a_column_that_somebody_accepts_arrives_for_every_row(place: Place) -> None:
    place.execute(
        "ALTER TABLE orders ADD COLUMN total INTEGER", "UPDATE orders SET total = 10 * id"
    )
    assert place.airflow.run("shop.orders") == "success"
    (question,) = place.asked(1)
    assert question["subject"] == "shop.orders: read the new column 'total'?"
    assert "`total` of type `int64`" in question["body"]
    assert question["options"] == ["Accept", "Refuse"]
    assert place.airflow.run("shop.orders") == "success"  # it goes on, and asks once only
    place.asked(1)

    place.answer(question, "Accept")

    assert place.outcome(question) == "success"
    assert place.stored("SELECT state, answered_by FROM tidegate_question") == [
        ("accepted", "admin")
    ]
    assert place.airflow.run("shop.orders") == "success"
    assert place.stored("SELECT id, total FROM shop__orders ORDER BY id") == [
        (1, 10), (2, 20), (3, 30),
    ]  # fmt: skip


def test_answers_from_the_shell_and_from_airflow_end_well_whichever_comes_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TIDEGATE_STORE", _sqlite(place.store))
    names = ("a", "b", "c", HOSTILE)
    for name in names:
        place.execute(f'ALTER TABLE customers ADD COLUMN "{name}" INTEGER DEFAULT 7')
    assert place.airflow.run("shop.customers") == "success"
    asked = {one["subject"]: one for one in place.asked(4)}
    a, b, c, hostile = (asked[f"shop.customers: read the new column {name!r}?"] for name in names)
    for name, word in (("a", "accept"), ("b", "refuse")):
        assert cli.main(["drift", word, "shop.customers", name]) == 0

    place.answer(a, "Refuse")  # too late
    place.answer(hostile, "Refuse")
    place.asked(2)
    place.forget_patience()  # of b, which was answered; and of c, which is asked again
    place.asked(1)
    place.answer(c, "Accept")

    assert place.outcome(b) == "success"
    states = place.stored(
        'SELECT "column", state, answered_by FROM tidegate_question '
        "WHERE stream = 'shop.customers' ORDER BY 1"
    )
    by = {name: (state, who) for name, state, who in states}
    assert {name: state for name, (state, _) in by.items()} == {
        "a": "accepted", "b": "refused", "c": "accepted", HOSTILE: "refused",
    }  # fmt: skip
    assert (by["c"][1], by[HOSTILE][1]) == ("admin", "admin")
    assert by["a"][1].endswith("(shell)")
    assert place.airflow.run("shop.customers") == "success"
    columns = {row[1] for row in place.stored("PRAGMA table_info(shop__customers)")}
    assert {"a", "c"} <= columns
    assert not {"b", HOSTILE} & columns


def test_whoever_triggers_the_dag_is_asked_again(place: Place) -> None:
    place.execute("ALTER TABLE orders ADD COLUMN note TEXT")
    assert place.airflow.run("shop.orders") == "success"
    place.asked(1)
    run = place.airflow.trigger(DRIFT)
    two = {one["task_instance"]["dag_run_id"]: one for one in place.asked(2)}
    second = two.pop(run)
    (first,) = two.values()
    for detail, option in ((first, "Accept"), (second, "Refuse")):
        place.answer(detail, option)
        assert place.outcome(detail) == "success"
    assert place.stored("SELECT state FROM tidegate_question WHERE \"column\" = 'note'") == [
        ("accepted",)
    ]

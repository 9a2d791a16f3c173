"""What a store's database says no to, in words and classes that say what to do."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

import services
from store.increments import Desk
from store.test_loading import row
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.store import engine, open_store
from tidegate.store.record import staging

SECRET = "wr0ng p@ss"


def refusal(kind: type[TidegateError], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as error:
        call()
    assert SECRET not in "".join(traceback.format_exception(error.value))
    return str(error.value)


def test_a_wrong_password_is_refused_and_not_shown(postgres: services.Server) -> None:
    endpoint = replace(postgres.fresh(), password=SECRET)
    told = refusal(RefusedError, lambda: open_store(endpoint))
    assert told.startswith("store 'shop' (postgresql+psycopg://tide:***@127.0.0.1:")
    assert "Check its connection" in told


def test_a_database_that_is_not_there_is_refused(postgres: services.Server) -> None:
    endpoint = replace(postgres.admin, database="nowhere")
    assert 'database "nowhere" does not exist' in refusal(
        RefusedError, lambda: open_store(endpoint)
    )


def test_rights_that_are_missing_are_told(postgres: services.Server) -> None:
    endpoint = postgres.fresh()
    reader = f"reader_{endpoint.database}"
    postgres.execute(endpoint, f"CREATE ROLE {reader} LOGIN PASSWORD 'x'",
                     "REVOKE CREATE ON SCHEMA public FROM PUBLIC")  # fmt: skip
    told = refusal(RefusedError, lambda: open_store(replace(endpoint, user=reader, password="x")))
    assert "permission denied for schema public" in told


def test_a_connection_that_breaks_while_rows_are_copied_may_be_tried_again(
    postgres: services.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = postgres.fresh()
    with open_store(endpoint) as store:
        desk = Desk(store, tmp_path)
        staged = desk.stage([row(1)])
        copy = staging._copy

        def cut(connection: Any, *rest: Any) -> None:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            postgres.execute(endpoint, f"SELECT pg_terminate_backend({pid}, 5000)")
            copy(connection, *rest)

        monkeypatch.setattr(staging, "_copy", cut)
        told = refusal(UnavailableError, lambda: store.load(staged, desk.stream))
        assert "did not answer" in told
        monkeypatch.setattr(staging, "_copy", copy)
        assert store.load(staged, desk.stream).inserted == 1


def test_a_server_that_is_not_there_may_be_tried_again(tmp_path: Path) -> None:
    endpoint = Endpoint("far", "postgres", str(tmp_path), 1, "u", SECRET, "d")
    told = refusal(UnavailableError, lambda: open_store(endpoint))
    assert told.startswith("store 'far' (postgresql+psycopg://u:***@")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.write_text("a letter, not a database" * 50)
    told = refusal(RefusedError, lambda: open_store(Endpoint("s", "sqlite", database=str(file))))
    assert "file is not a database" in told
    below = Endpoint("s", "sqlite", database=str(file / "store.db"))
    assert "cannot create" in refusal(RefusedError, lambda: open_store(below))


def test_mysql_cannot_be_the_store() -> None:
    told = refusal(ConfigError, lambda: open_store(Endpoint("s", "mysql", "h")))
    assert told.endswith("cannot be the store. Use a postgres or sqlite connection.")


def test_an_error_of_a_statement_shows_no_row(
    postgres: services.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(postgres.fresh()) as store:
        desk = Desk(store, tmp_path)
        desk.load([row(1)])
        with store._writing() as connection:
            connection.exec_driver_sql("ALTER TABLE tidegate_quarantine ADD CHECK (row = '')")
        with pytest.raises(Exception, match="CheckViolation") as error:
            desk.load([row(2, customer="eve.adams@example.org", _held="no")])
    assert isinstance(error.value.__cause__, psycopg.Error)
    assert "parameters hidden" in str(error.value)


def test_a_session_that_is_used_again_holds_nothing_of_its_last_use(
    postgres: services.Server,
) -> None:
    made = engine.create(postgres.fresh())
    pid = sa.text("SELECT pg_backend_pid()")
    with made.connect() as connection:
        first = connection.execute(pid).scalar_one()
        connection.exec_driver_sql("CREATE TEMPORARY TABLE computed (number INT)")
        connection.exec_driver_sql("SELECT pg_advisory_lock(7)")
        connection.commit()
    with engine.snapshot(made) as connection:
        assert connection.execute(pid).scalar_one() == first
    with made.connect() as connection:
        assert connection.execute(pid).scalar_one() == first
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
        assert connection.exec_driver_sql("SELECT to_regclass('computed')").scalar() is None
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert connection.exec_driver_sql(locks).scalar() == 0
    made.dispose()


def test_a_session_that_died_between_two_uses_is_replaced(postgres: services.Server) -> None:
    endpoint = postgres.fresh()
    made = engine.create(endpoint)
    with made.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    postgres.execute(endpoint, f"SELECT pg_terminate_backend({pid})")
    with made.connect() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() != pid
    made.dispose()

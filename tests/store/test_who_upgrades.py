"""Who may upgrade a store, how often that happens, and who is kept out."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

import services
from store import old_store
from store.upgrading import contents, opened, opening
from tidegate.errors import ConfigError
from tidegate.store import open_store, upgrade


def test_what_still_runs_an_older_program_cannot_commit(server: services.Server) -> None:
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    line = old_store.run_line(99)
    old_store.insert(server, endpoint, {"tidegate_run": [line]})
    server.execute(endpoint, "DELETE FROM tidegate_run WHERE seq = 99")
    open_store(endpoint).close()
    with pytest.raises(sa.exc.DBAPIError, match=r"read"):
        old_store.insert(server, endpoint, {"tidegate_run": [line]})


def test_a_store_newer_than_the_program_is_refused(server: services.Server) -> None:
    endpoint = server.fresh()
    open_store(endpoint).close()
    server.execute(endpoint, "UPDATE tidegate_schema SET version_num = '0999'")
    before = contents(server, endpoint)
    with pytest.raises(ConfigError, match=r"has schema 0999.*Install that version here too"):
        open_store(endpoint)
    assert contents(server, endpoint) == before


def test_operators_may_choose_when_a_store_is_upgraded(
    server: services.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    before = contents(server, endpoint)
    monkeypatch.setenv("TIDEGATE_STORE_UPGRADE", "refuse")
    with pytest.raises(ConfigError, match=r"has schema 0001.*run: tidegate upgrade"):
        open_store(endpoint)
    assert contents(server, endpoint) == before
    assert upgrade.run(endpoint) == ("0001", upgrade.HEAD)
    open_store(endpoint).close()


def test_a_new_store_needs_no_permission(
    server: services.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_STORE_UPGRADE", "refuse")
    open_store(server.fresh()).close()


def test_a_word_that_is_no_choice_is_refused(
    server: services.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    monkeypatch.setenv("TIDEGATE_STORE_UPGRADE", "no")
    with pytest.raises(ConfigError, match="Write 'auto' or 'refuse'"):
        open_store(endpoint)


def test_many_who_open_an_old_store_at_once_upgrade_it_once(server: services.Server) -> None:
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    assert [opened(child) for child in [opening(server, endpoint) for _ in range(3)]] == [0, 0, 0]
    with open_store(endpoint) as store:
        assert len(store.status()) == 2


def test_a_view_of_somebody_elses_stops_the_upgrade_with_its_name(
    server: services.Server,
) -> None:
    if server.kind == "sqlite":
        pytest.skip("SQLite does not know which view depends on which table")
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    server.execute(endpoint, "CREATE VIEW mine AS SELECT key FROM entity")
    with pytest.raises(ConfigError, match=r"view mine depends on table entity.*Drop that view"):
        open_store(endpoint)
    server.execute(endpoint, "DROP VIEW mine")
    open_store(endpoint).close()

"""What servers say of their transactions, what makes them unable to, and what is done then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

import services
from services import Server
from sources.late.readers import TABLE, connect
from sources.tables import findings, stream
from tidegate.connections import Endpoint
from tidegate.errors import ChangedError, RefusedError
from tidegate.model import Json, Watermark
from tidegate.sources import Apart, Observation, open_source
from tidegate.sources.sql.bounds import answer, drain
from tidegate.sources.sql.bounds import server as servers
from tidegate.sources.sql.session import Session


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two in turn."""
    return cast("Server", request.getfixturevalue(request.param))


def make(server: Server) -> Endpoint:
    endpoint = server.fresh()
    server.execute(endpoint, *TABLE[server.kind])
    return endpoint


def observe(
    endpoint: Endpoint, shared: Any = None, memory: Json = None, **fields: Any
) -> Observation:
    with open_source(endpoint, stream(**fields), "shop.orders") as source:
        return source.observe(shared or Apart(), memory)


def instant(mark: Watermark | None) -> datetime:
    assert mark is not None
    return datetime.fromisoformat(str(mark.cursor)).replace(tzinfo=UTC)


def behind(seen: Observation) -> timedelta:
    """How far the bound is behind the source's clock."""
    return datetime.fromisoformat(seen.observed_at) - instant(seen.high)


@contextmanager
def open_transaction(endpoint: Endpoint) -> Iterator[Any]:
    """One that has written a row."""
    with closing(connect(endpoint)) as session:
        session.cursor().execute("BEGIN")
        session.cursor().execute("INSERT INTO orders (id, value) VALUES (1, 1)")
        yield session
        session.rollback()


@pytest.fixture
def poor(server: Server) -> Iterator[Endpoint]:
    """A user who may read the table, and see no session but his own."""
    endpoint = make(server)
    name = f"poor_{endpoint.database}"
    if server.kind == "mysql":
        user = f"'{name}'@'%'"
        server.execute(
            endpoint, f"CREATE USER {user} IDENTIFIED BY 'x'", f"GRANT SELECT ON * TO {user}"
        )
        drop = [f"DROP USER {user}"]
    else:
        user = name
        server.execute(
            endpoint, f"CREATE USER {user} PASSWORD 'x'", f"GRANT SELECT ON orders TO {user}"
        )
        drop = [f"DROP OWNED BY {user}", f"DROP USER {user}"]
    yield replace(endpoint, user=name, password="x")
    server.execute(endpoint, *drop)


# What is computed ------------------------------------------------------------------------------


def test_a_server_at_rest_is_safe_up_to_now(server: Server) -> None:
    seen = observe(make(server), bound="computed")
    assert timedelta(seconds=1) <= behind(seen) < timedelta(seconds=6)
    assert seen.bound.startswith("drained to ")
    assert seen.floor is None


def test_an_open_transaction_holds_the_bound_below_its_beginning(server: Server) -> None:
    endpoint, shared = make(server), Apart()
    first = observe(endpoint, shared)
    with open_transaction(endpoint):
        began = datetime.now(UTC)
        seen = observe(endpoint, shared, first.memory)
        for _ in range(3):
            seen = observe(endpoint, Apart(), seen.memory)
            assert seen.high is None or began - timedelta(seconds=1) > at(seen)
    after = observe(endpoint, Apart())
    assert after.high and behind(after) < timedelta(seconds=6)


def at(seen: Observation) -> datetime:
    return datetime.fromisoformat(seen.observed_at) - behind(seen)


def test_who_is_waited_for_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "NAMED_AFTER", 0)
    endpoint = make(server)
    with open_transaction(endpoint) as session:
        number = session.thread_id() if server.kind == "mysql" else session.info.backend_pid
        text = observe(endpoint).bound
    assert f"waits for session {number} of {endpoint.user}" in text
    assert "open since " in text
    assert len(text) <= 200


def test_all_streams_of_a_server_share_one_look_a_second(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, shared = make(server), Apart()
    first = observe(endpoint, shared)
    monkeypatch.setattr(servers, "OBSERVE_SECONDS", 60)
    assert observe(endpoint, shared, first.memory).bound == first.bound
    assert looks(shared) == 1
    monkeypatch.setattr(servers, "OBSERVE_SECONDS", 0)
    observe(endpoint, shared, first.memory)
    assert looks(shared) == 2


def test_a_look_from_before_the_clock_was_set_back_is_not_shared(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, shared = make(server), Apart()
    first = observe(endpoint, shared)
    monkeypatch.setattr(servers, "OBSERVE_SECONDS", 60)
    clock = Session.clock
    monkeypatch.setattr(Session, "clock", lambda self: clock(self) - timedelta(seconds=90))
    observe(endpoint, shared, first.memory)
    assert looks(shared) == 2


def looks(shared: Apart) -> int:
    """How often somebody looked at the one server."""
    ((generation, _),) = shared._known.values()
    return generation


class Contested(Apart):
    """Another run stores its observation first, always."""

    def share(self, server: str, generation: int, value: Json) -> bool:
        super().share(server, generation, {**value, "text": "the other's"})
        return False


def test_of_two_who_look_at_once_the_second_uses_what_the_first_saw(server: Server) -> None:
    assert observe(make(server), Contested()).bound == "the other's"


def test_the_default_lookback_is_none_where_the_server_stamps_the_cursor(server: Server) -> None:
    stamped = make(server)
    assert "minus" not in observe(stamped).bound
    plain = make(server)
    undo = {
        "mysql": "ALTER TABLE orders MODIFY changed DATETIME(6) NOT NULL DEFAULT '2000-01-01'",
        "postgres": "DROP TRIGGER stamps ON orders",
    }[server.kind]
    server.execute(plain, undo)
    seen = observe(plain)
    assert "minus 1m, as applications stamp it" in seen.bound
    assert timedelta(seconds=61) <= behind(seen) < timedelta(seconds=70)
    assert behind(observe(plain, lookback="0s")) < timedelta(seconds=6)


def test_a_number_is_passed_only_when_all_before_it_are_there(server: Server) -> None:
    endpoint = server.fresh()
    numbered = {
        "mysql": "BIGINT AUTO_INCREMENT PRIMARY KEY",
        "postgres": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    }[server.kind]
    server.execute(endpoint, f"CREATE TABLE orders (id {numbered}, value INT)")
    write = "INSERT INTO orders (value) VALUES (1)"
    server.execute(endpoint, write)
    memory = observe(endpoint, cursor="id").memory
    with closing(connect(endpoint)) as late:
        late.cursor().execute("BEGIN")
        late.cursor().execute(write)
        server.execute(endpoint, write)
        for _ in range(3):
            seen = observe(endpoint, Apart(), memory, cursor="id")
            memory = seen.memory
            assert seen.high is None or seen.high.cursor == 1
        late.cursor().execute("COMMIT")
    seen = observe(endpoint, Apart(), memory, cursor="id")
    seen = observe(endpoint, Apart(), seen.memory, cursor="id")
    assert seen.high and seen.high.cursor == 3
    assert "minus" not in seen.bound


def test_a_sequence_that_sessions_draw_from_in_blocks_keeps_its_lookback(postgres: Server) -> None:
    endpoint = postgres.fresh()
    postgres.execute(
        endpoint,
        "CREATE TABLE orders (id BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 20) PRIMARY KEY)",
        "INSERT INTO orders SELECT FROM generate_series(1, 30)",
    )
    assert "minus 1000, as applications stamp it" in observe(endpoint, cursor="id").bound


# What is read again after a step of the clock ----------------------------------------------------


def test_a_clock_that_was_set_back_lowers_the_floor_until_it_has_caught_up(server: Server) -> None:
    endpoint = make(server)
    memory = observe(endpoint).memory
    ahead = timedelta(seconds=90)
    memory["clock"][0] = str(datetime.fromisoformat(memory["clock"][0]) + ahead)
    memory["moment"] = str(datetime.fromisoformat(memory["moment"]) + ahead)
    now = datetime.now(UTC)

    seen = observe(endpoint, Apart(), memory)
    assert now - timedelta(seconds=8) < instant(seen.floor) < now
    after = observe(endpoint, Apart(), seen.memory)
    assert instant(seen.high) <= instant(after.floor) < datetime.now(UTC)


def test_a_server_that_is_new_to_us_does_not_make_all_be_read_again(mariadb: Server) -> None:
    """Of one that is busy it is only known that nothing began before it started."""
    endpoint = make(mariadb)
    first = observe(endpoint)
    with open_transaction(endpoint):
        second = observe(endpoint, Apart(), first.memory)
        third = observe(endpoint, Apart(), second.memory)
    assert at(second) < at(first)
    assert first.high == second.floor == third.floor


def test_what_was_waited_for_before_a_restart_is_not_waited_for(mariadb: Server) -> None:
    endpoint, shared = make(mariadb), Apart()
    with open_transaction(endpoint):
        observe(endpoint, shared)
    ((name, (generation, known)),) = shared._known.items()
    assert any(waits for _, waits in known["kept"]["barriers"])
    known["clock"][2] = [0, 0]  # long ago
    known["kept"]["own"] += 10**6
    assert shared.share(name, generation, known)
    assert behind(observe(endpoint, shared, {"cursor": "-"})) < timedelta(seconds=6)


# What cannot be computed -------------------------------------------------------------------------


def test_without_the_right_to_see_sessions_it_is_guessed_or_refused(
    server: Server, poor: Endpoint
) -> None:
    right = {"mysql": "PROCESS", "postgres": "pg_read_all_stats"}[server.kind]
    why = {"mysql": "no PROCESS privilege", "postgres": "no right to see all sessions"}
    seen = observe(poor)
    assert seen.bound == f"clock − 1m: {why[server.kind]}"
    assert timedelta(seconds=60) <= behind(seen) < timedelta(seconds=62)
    assert timedelta(minutes=5) <= behind(observe(poor, lookback="5m"))
    with pytest.raises(RefusedError, match=f"bound: computed, but .*GRANT {right}"):
        observe(poor, bound="computed")


def test_a_view_and_another_engine_are_guessed(server: Server) -> None:
    endpoint = make(server)
    server.execute(endpoint, "CREATE VIEW seen AS SELECT * FROM orders")
    assert observe(endpoint, table="seen").bound == "clock − 1m: it is a view, of tables unknown"
    if server.kind == "mysql":
        server.execute(endpoint, "ALTER TABLE orders ENGINE = MyISAM")
        assert "the table's engine is MyISAM" in observe(endpoint).bound
        with pytest.raises(RefusedError, match="ENGINE = InnoDB"):
            observe(endpoint, bound="computed")


def test_lookback_can_be_asked_for(server: Server) -> None:
    seen = observe(make(server), bound="lookback", lookback="2m")
    assert seen.bound == "clock − 2m: bound: lookback"
    assert timedelta(minutes=2) <= behind(seen) < timedelta(minutes=2, seconds=2)


def test_sqlite_is_guessed(sqlite: Server) -> None:
    endpoint = sqlite.fresh()
    sqlite.execute(
        endpoint,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed DATETIME)",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    assert observe(endpoint).bound == "clock − 1m: SQLite shows no transactions"


def test_a_server_that_only_reads_is_taken_for_a_replica(mariadb: Server) -> None:
    endpoint = make(mariadb)
    mariadb.execute(endpoint, "SET GLOBAL read_only = ON")
    try:
        assert "the server is read-only, like a replica" in observe(endpoint).bound
    finally:
        mariadb.execute(endpoint, "SET GLOBAL read_only = OFF")


def test_a_replica_that_is_stopped_is_none_the_less_one() -> None:
    """It brings the primary's stamps of all that time when it goes on."""
    server = services.start("mariadb", private=True)
    try:
        endpoint = make(server)
        server.execute(
            endpoint,
            "CREATE USER mere IDENTIFIED BY 'x'",
            "GRANT PROCESS ON *.* TO mere",
            "GRANT SELECT ON * TO mere",
        )
        mere = replace(endpoint, user="mere", password="x")
        assert "drained" in observe(mere).bound
        server.execute(endpoint, "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_USER = 'x'")
        for user in (endpoint, mere):
            assert "a replica that is stopped" in observe(user).bound
        assert "replication is set up, and stopped" in findings(mere, stream())["replica"].what
        server.execute(
            endpoint, "RESET SLAVE ALL", "CHANGE MASTER 'two' TO MASTER_HOST = '127.0.0.1'"
        )
        assert "a replica that is stopped" in observe(endpoint).bound
        server.execute(endpoint, "RESET SLAVE 'two' ALL", "GRANT SLAVE MONITOR ON *.* TO mere")
        assert "drained" in observe(endpoint).bound
        assert "drained" in observe(mere).bound
    finally:
        server.close()


def test_only_the_servers_own_code_says_that_a_privilege_is_missing(
    mariadb: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = make(mariadb)
    monkeypatch.setattr(drain, "_UPTIME", "KILL 1227122712")
    with pytest.raises(RefusedError, match=r"refused \(1094\).*1227122712"):
        observe(endpoint)


def test_a_session_that_hides_what_it_does_is_not_guessed_around(postgres: Server) -> None:
    endpoint = make(postgres)
    with closing(connect(endpoint)) as hidden:
        hidden.execute("SET track_activities = off")
        hidden.execute("SELECT 1")
        assert "runs with track_activities = off" in observe(endpoint).bound


def test_a_foreign_table_is_written_elsewhere(postgres: Server) -> None:
    endpoint = make(postgres)
    postgres.execute(
        endpoint,
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw",
        "CREATE TABLE parts (LIKE orders) PARTITION BY RANGE (id)",
        "CREATE INDEX ON ONLY parts (changed, id)",
        "CREATE FOREIGN TABLE far PARTITION OF parts FOR VALUES FROM (0) TO (9) SERVER elsewhere",
    )
    with pytest.raises(RefusedError, match="another server writes the rows"):
        observe(endpoint, table="parts", bound="computed")


@pytest.mark.parametrize("how", ["partition", "child"])
def test_a_part_that_is_subscribed_is_written_elsewhere(postgres: Server, how: str) -> None:
    """By default the entries are those of the leaves, not that of the root."""
    endpoint = make(postgres)
    if how == "partition":
        postgres.execute(
            endpoint,
            "CREATE TABLE parts (LIKE orders) PARTITION BY RANGE (id)",
            "CREATE INDEX ON parts (changed, id)",
            "CREATE TABLE leaf PARTITION OF parts FOR VALUES FROM (0) TO (9)",
        )
    else:
        postgres.execute(
            endpoint, "CREATE TABLE parts (LIKE orders)", "CREATE TABLE leaf () INHERITS (parts)"
        )
    assert "drained" in observe(endpoint, table="parts").bound
    postgres.execute(
        endpoint,
        "CREATE SUBSCRIPTION elsewhere CONNECTION 'host=/nowhere dbname=x' PUBLICATION p "
        "WITH (connect = false)",
        "SET allow_system_table_mods = on",
        "INSERT INTO pg_subscription_rel SELECT oid, 'leaf'::regclass, 'r' FROM pg_subscription"
        " WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    try:
        assert "another server writes the rows" in observe(endpoint, table="parts").bound
    finally:
        postgres.execute(
            endpoint,
            "ALTER SUBSCRIPTION elsewhere SET (slot_name = NONE)",
            "DROP SUBSCRIPTION elsewhere",
        )


def test_tables_whose_names_differ_in_case_only_are_two(mariadb: Server) -> None:
    endpoint = make(mariadb)
    mariadb.execute(endpoint, "CREATE TABLE Orders (id INT, changed DATETIME(6)) ENGINE = MyISAM")
    assert "drained" in observe(endpoint).bound


def test_a_table_that_is_gone_when_its_stamps_are_asked_for_has_changed(server: Server) -> None:
    endpoint = make(server)
    with open_source(endpoint, stream(), "shop.orders") as source:
        source.columns()
        server.execute(endpoint, "DROP TABLE orders")
        with pytest.raises(ChangedError, match="'orders' changed while it was looked at"):
            source.observe(Apart())


def test_other_databases_and_a_prepared_transaction_there_do_not_matter(postgres: Server) -> None:
    endpoint, other = make(postgres), make(postgres)
    name = f"p-{other.database}"
    with closing(connect(other)) as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO orders (id, value) VALUES (1, 1)")
        session.execute(f"PREPARE TRANSACTION '{name}'")
        try:
            assert behind(observe(endpoint)) < timedelta(seconds=6)
            held = observe(other)
            assert held.high is None
            assert held.bound == f"held: prepared transaction '{name}' of tide is open"
        finally:
            session.execute(f"ROLLBACK PREPARED '{name}'")

"""How far is complete, where a read begins, which rows a window holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services import Server
from sources.tables import INSTANT, STAMP, insert, keys, pull, stream
from tidegate.errors import ConfigError
from tidegate.fields import duration
from tidegate.model import Watermark
from tidegate.sources import Apart, open_source
from tidegate.sources.sql.bounds.bound import by_time
from tidegate.sources.sql.moments import earliest_local
from tidegate.types import ColumnType

DATETIME = ColumnType("datetime")


def make(server: Server, kind: str) -> Any:
    endpoint = server.fresh()
    server.execute(
        endpoint,
        f"CREATE TABLE orders (id INTEGER PRIMARY KEY, changed {kind})",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    return endpoint


def high(moment: str, type: str, zone: str, lookback: str = "0s") -> object:
    safe = datetime.fromisoformat(moment) - duration(lookback)
    return by_time(safe, ColumnType(type), ZoneInfo(zone), "changed").cursor


def test_the_bound_is_the_safe_moment_minus_the_lookback() -> None:
    moment = "2024-01-15T12:00:00+00:00"
    assert high(moment, "timestamp", "Europe/Berlin", "90s") == "2024-01-15T11:58:30.000000+00:00"
    assert high(moment, "datetime", "Europe/Berlin", "90s") == "2024-01-15T12:58:30.000000"
    assert high(moment, "date", "Pacific/Auckland", "0s") == "2024-01-16"
    assert high(moment, "date", "Pacific/Auckland", "2d") == "2024-01-14"


@pytest.mark.parametrize("type", ["timestamp", "datetime"])
@pytest.mark.parametrize("lookback", ["0s", "1.7s"])
def test_the_bound_passes_no_row_of_a_column_without_fractions(type: str, lookback: str) -> None:
    """A row of 12:00:00.7 is stamped 12:00:00 there, and may be read after the bound was taken."""
    clock = datetime.fromisoformat("2024-01-15T12:00:00.6+00:00")
    stamped = clock.replace(tzinfo=None) + timedelta(seconds=0.1) - duration(lookback)
    bound = datetime.fromisoformat(str(high(clock.isoformat(), type, "UTC", lookback)))
    assert stamped.replace(microsecond=0) >= bound.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("zone", "moment", "bound"),
    [
        # Autumn: 02:00-03:00 happens twice. Until a day later the bound stays an hour behind.
        ("Europe/Berlin", "2024-10-26T22:00:00+00:00", "2024-10-26T23:00:00.000000"),
        ("Europe/Berlin", "2024-10-27T00:30:00+00:00", "2024-10-27T01:30:00.000000"),
        ("Europe/Berlin", "2024-10-27T01:30:00+00:00", "2024-10-27T02:30:00.000000"),
        ("Europe/Berlin", "2024-10-29T00:00:00+00:00", "2024-10-29T01:00:00.000000"),
        # Spring: never ahead of the wall clock.
        ("Europe/Berlin", "2024-03-31T00:59:59+00:00", "2024-03-31T01:59:59.000000"),
        ("Europe/Berlin", "2024-03-31T01:00:00+00:00", "2024-03-31T02:00:00.000000"),
        # Half an hour of daylight saving.
        ("Australia/Lord_Howe", "2024-04-06T14:45:00+00:00", "2024-04-07T01:15:00.000000"),
        ("Australia/Lord_Howe", "2024-04-06T15:15:00+00:00", "2024-04-07T01:45:00.000000"),
        ("America/New_York", "2024-11-03T05:30:00+00:00", "2024-11-03T00:30:00.000000"),
    ],
)
def test_a_zoneless_bound_never_passes_a_row_of_the_repeated_hour(
    zone: str, moment: str, bound: str
) -> None:
    assert high(moment, "datetime", zone) == bound


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/New_York"])
def test_rows_stamped_around_both_transitions_are_all_read(zone: str) -> None:
    """Every row stamped at or after the moment of the bound lies at or above the bound."""
    local = ZoneInfo(zone)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for minutes in range(0, 366 * 24 * 60, 30):
        moment = start + timedelta(minutes=minutes)
        bound = earliest_local(moment, local)
        for later in (0, 29, 30, 59, 60, 61, 120):
            stamped = (moment + timedelta(minutes=later)).astimezone(local).replace(tzinfo=None)
            assert stamped >= bound, moment


def test_the_servers_clock_is_read_in_utc(sql_server: Server) -> None:
    endpoint = make(sql_server, f"{STAMP[sql_server.kind]} NOT NULL")
    before = datetime.now(UTC)
    with open_source(endpoint, stream(lookback="1h"), "shop.orders") as source:
        seen = source.observe(Apart())
    at = datetime.fromisoformat(seen.observed_at)
    assert before - timedelta(seconds=1) < at < datetime.now(UTC) + timedelta(seconds=1)
    assert seen.high is not None
    assert len(str(seen.high.cursor)) == len("2024-01-01T00:00:00.000000")
    behind = at.replace(tzinfo=None) - datetime.fromisoformat(str(seen.high.cursor))
    assert timedelta(hours=1) <= behind < timedelta(hours=1, seconds=5)


def test_a_numeric_cursor_goes_by_its_largest_value(sql_server: Server) -> None:
    endpoint = make(sql_server, "BIGINT")
    spec = stream(lookback=10)
    with open_source(endpoint, spec, "shop.orders") as source:
        assert source.observe(Apart()).high is None
        insert(sql_server, endpoint, "orders", [{"id": 1, "changed": 2**53 + 1}, {"id": 2}])
        assert source.observe(Apart()).high == Watermark(2**53 + 1 - 10)
    assert keys(pull(endpoint, spec, 2**53 + 1)) == ["1", "2"], "no cursor: read every time"
    assert keys(pull(endpoint, spec, 2**53 + 2)) == ["2"]


@pytest.mark.parametrize(
    ("kind", "lookback", "message"),
    [
        ("INTEGER", "1m", "lookback: '1m' is a duration, but the cursor 'changed' is of type"),
        ("DATE", 5, "lookback: 5 is a number, but the cursor 'changed' is of type date"),
        ("VARCHAR(9)", "1m", "cursor: 'changed' is of type string, which does not order changes"),
    ],
)
def test_cursor_and_lookback_must_be_of_one_kind(
    sql_server: Server, kind: str, lookback: Any, message: str
) -> None:
    endpoint = make(sql_server, kind)
    with open_source(endpoint, stream(lookback=lookback), "shop.orders") as source:
        with pytest.raises(ConfigError, match="shop") as error:
            source.observe(Apart())
        assert message in str(error.value)
        errors = [found.message for found in source.check() if found.level == "error"]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_read_begins_at_the_watermark_itself(sql_server: Server) -> None:
    endpoint = make(sql_server, f"{STAMP[sql_server.kind]} NOT NULL")
    stamps = ["01-01 11:59:59.999999", "01-01 12:00:00", "01-01 12:00:00.000001", "12-31 00:00:00"]
    insert(
        sql_server, endpoint, "orders",
        [{"id": i, "changed": f"2024-{stamp}"} for i, stamp in enumerate(stamps)],
    )  # fmt: skip
    assert keys(pull(endpoint, stream(), "2024-01-01T12:00:00.000000")) == ["1", "2", "3"]
    assert keys(pull(endpoint, stream(), "2024-01-01T12:00:00.000001")) == ["2", "3"]
    assert keys(pull(endpoint, stream(), "2024-12-31T00:00:00.000000")) == ["3"]


def test_an_instant_is_an_instant_in_any_zone(sql_server: Server) -> None:
    if sql_server.kind == "sqlite":
        pytest.skip("SQLite has no instants of its own; see the test of spellings")
    endpoint = make(sql_server, INSTANT[sql_server.kind])
    written = {"mysql": "2024-07-01 12:00:00", "postgres": "2024-07-01 08:00:00-04"}
    insert(sql_server, endpoint, "orders", [{"id": 1, "changed": written[sql_server.kind]}])
    if sql_server.kind == "mysql":
        sql_server.execute(
            endpoint,
            "INSERT INTO orders VALUES (2, NULL)",
            "SET STATEMENT time_zone = '+00:00' FOR UPDATE orders SET changed = "
            "'2024-07-01 12:00:00' WHERE id = 1",
        )
    spec = stream(time_zone="America/New_York", unindexed="allow")
    row = pull(endpoint, spec)[0]
    assert row["changed"] == datetime(2024, 7, 1, 12, tzinfo=UTC)
    assert "1" in keys(pull(endpoint, spec, "2024-07-01T12:00:00.000000+00:00"))
    assert "1" not in keys(pull(endpoint, spec, "2024-07-01T12:00:00.000001+00:00"))


def test_windows_share_no_row_and_leave_none_out(sql_server: Server) -> None:
    endpoint = make(sql_server, f"{STAMP[sql_server.kind]} NOT NULL")
    stamps = ["01-01 22:59:59.999999", "01-01 23:00:00", "01-02 22:59:59.999999", "01-02 23:00:00"]
    insert(
        sql_server, endpoint, "orders",
        [{"id": i, "changed": f"2024-{stamp}"} for i, stamp in enumerate(stamps)],
    )  # fmt: skip
    edges = [f"2024-01-0{day}T00:00:00+00:00" for day in range(1, 5)]
    utc = [keys(pull(endpoint, stream(), window=(a, b))) for a, b in pairwise(edges)]
    assert utc == [["0", "1"], ["2", "3"], []]
    berlin = stream(time_zone="Europe/Berlin")
    window = ("2024-01-01T22:00:00+00:00", "2024-01-02T22:00:00+00:00")
    assert keys(pull(endpoint, berlin, window=window)) == ["1", "2"]


def test_windows_may_cut_another_column_even_one_of_days(sql_server: Server) -> None:
    endpoint = sql_server.fresh()
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders (id INTEGER PRIMARY KEY, changed {STAMP[sql_server.kind]}, day DATE)",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    insert(
        sql_server, endpoint, "orders",
        [{"id": i, "changed": "2025-01-01", "day": f"2024-01-0{i}"} for i in (1, 2, 3)],
    )  # fmt: skip
    spec = stream(backfill={"by": "day"})
    window = ("2024-01-02T00:00:00+00:00", "2024-01-03T00:00:00+00:00")
    assert keys(pull(endpoint, spec, window=window)) == ["2"]
    with open_source(endpoint, spec, "shop.orders") as source:
        found = {
            finding.level for finding in source.check() if "begins with 'day'" in finding.message
        }
    assert found == {"warning"}


NEW_YORK = ZoneInfo("America/New_York")
CLOCKS = {  # a zone-less column declared as instants, and instants declared as readings of a clock
    "timestamp": {"mysql": "DATETIME(6)", "postgres": "TIMESTAMP(6)", "sqlite": "DATETIME"},
    "datetime": {"mysql": "TIMESTAMP(6)"},
}


def test_a_new_row_of_a_column_declared_as_instants_is_read(sql_server: Server) -> None:
    """Its readings are hours below the UTC moments that they stand for."""
    endpoint = make(sql_server, f"{STAMP[sql_server.kind]} NOT NULL")
    spec = stream(types={"changed": "timestamp"}, time_zone=NEW_YORK.key, lookback="10m")
    memory = low = None
    for number in (1, 2):
        stamp = f"{datetime.now(NEW_YORK).replace(tzinfo=None)}"
        insert(sql_server, endpoint, "orders", [{"id": number, "changed": stamp}])
        with open_source(endpoint, spec, "shop.orders") as source:
            seen = source.observe(Apart(), memory)
            pages = source.pull(7, low, None)
            found = [row["_key"] for page in pages for row in page.to_pylist()]
            assert source.census() == {}, "nor is it of the future"
        low, memory = seen.high, seen.memory
        assert str(number) in found


@pytest.mark.parametrize("type", CLOCKS)
def test_windows_are_cut_in_the_zone_in_which_the_column_is_kept(
    sql_server: Server, type: str
) -> None:
    kind = CLOCKS[type].get(sql_server.kind)
    if kind is None:
        pytest.skip("no such column there")
    endpoint = make(sql_server, f"{kind} NOT NULL")
    spec = stream(types={"changed": type}, time_zone=NEW_YORK.key)
    with sql_server.engine(endpoint).begin() as connection:
        if sql_server.kind == "mysql":
            connection.exec_driver_sql("SET time_zone = '+00:00'")
        for number, hour in enumerate((3, 4, 5)):
            moment = datetime(2024, 6, 10, hour, 30, tzinfo=UTC)
            kept = moment.astimezone(NEW_YORK if type == "timestamp" else UTC)
            text = kept.replace(tzinfo=None).isoformat(" ")
            connection.exec_driver_sql(f"INSERT INTO orders VALUES ({number}, '{text}')")
    window = ("2024-06-10T04:00:00Z", "2024-06-10T05:00:00Z")
    assert keys(pull(endpoint, spec, window=window)) == ["1"]


def test_the_repeated_hour_of_a_column_declared_as_instants_is_in_both_windows(
    sql_server: Server,
) -> None:
    endpoint = make(sql_server, f"{STAMP[sql_server.kind]} NOT NULL")
    insert(sql_server, endpoint, "orders", [{"id": 1, "changed": "2024-10-27 02:30:00"}])
    spec = stream(types={"changed": "timestamp"}, time_zone="Europe/Berlin")
    for hour in (0, 1):
        window = (f"2024-10-27T0{hour}:00:00Z", f"2024-10-27T0{hour + 1}:00:00Z")
        assert keys(pull(endpoint, spec, window=window)) == ["1"]


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
@pytest.mark.parametrize(
    ("kind", "type"),
    [("VARCHAR(40)", "timestamp"), ("VARCHAR(40)", "int64"), ("DATE", "timestamp")],
)
def test_a_column_that_the_server_compares_otherwise_is_refused_as_a_cursor(
    name: str, kind: str, type: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    endpoint = make(server, f"{kind} NOT NULL")
    for field, spec in (
        ("cursor", stream(types={"changed": type})),
        ("backfill.by", stream(cursor="id", types={"changed": type}, backfill={"by": "changed"})),
    ):
        with pytest.raises(ConfigError, match=rf"{field}: types: makes {type} of 'changed', but"):
            pull(endpoint, spec)


def test_a_window_of_the_repeated_hour_leaves_no_row_of_it_out(sql_server: Server) -> None:
    endpoint = make(sql_server, f"{STAMP[sql_server.kind]} NOT NULL")
    insert(sql_server, endpoint, "orders", [{"id": 1, "changed": "2024-10-27 02:30:00"}])
    berlin = stream(time_zone="Europe/Berlin")
    first, second = (
        ("2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z"),
        ("2024-10-27T01:00:00Z", "2024-10-27T02:00:00Z"),
    )
    assert keys(pull(endpoint, berlin, window=first)) == ["1"]
    assert keys(pull(endpoint, berlin, window=second)) == ["1"]


SPELLINGS = {
    "space": ["2024-01-01 09:00", "2024-01-01 12:00:00", "2024-01-01 12:00:00.5"],
    "letter": ["2024-01-01T09:00:00", "2024-01-01T12:00:00.000", "2024-01-01T12:00:00.500"],
    "zulu": ["2024-01-01T09:00:00Z", "2024-01-01T12:00:00Z", "2024-01-01T12:00:00.5Z"],
    "mixed": ["2024-01-01T09:00", "2024-01-01 12:00", "2024-01-01T13:00:00"],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_a_time_in_sqlite_hides_a_row(sqlite: Server, spelling: str) -> None:
    endpoint = make(sqlite, "TIMESTAMP NOT NULL")
    rows = [{"id": i, "changed": text} for i, text in enumerate(SPELLINGS[spelling])]
    insert(sqlite, endpoint, "orders", rows)
    zulu = spelling == "zulu"
    spec = stream(types={"changed": "timestamp"} if zulu else {})
    low = "2024-01-01T12:00:00.000000" + ("+00:00" if zulu else "")
    found = keys(pull(endpoint, spec, low))
    assert {"1", "2"} <= set(found)
    assert "0" not in found
    early = ("2024-01-01T00:00:00Z", "2024-01-01T12:00:00Z")
    late = ("2024-01-01T12:00:00Z", "2024-01-02T00:00:00Z")
    windows = [keys(pull(endpoint, spec, window=window)) for window in (early, late)]
    assert sorted(str(key) for window in windows for key in window) == ["0", "1", "2"]


LETTERS = ["2024-01-01T09:00:00", "2024-01-01 11:59", "2024-01-01 12:00:00", "2024-01-02T00:00"]


def test_a_blank_among_letters_in_sqlite_hides_no_row(sqlite: Server) -> None:
    """Neither the earliest nor the latest time tells how those of the bound's day are spelled."""
    endpoint = make(sqlite, "TIMESTAMP NOT NULL")
    insert(sqlite, endpoint, "orders", [{"id": i, "changed": t} for i, t in enumerate(LETTERS)])
    assert keys(pull(endpoint, stream(), "2024-01-01T12:00:00.000000")) == ["2", "3"]
    windows = ("2024-01-01T08:00:00Z", "2024-01-01T12:00:00Z", "2024-01-03T00:00:00Z")
    found = [keys(pull(endpoint, stream(), window=window)) for window in pairwise(windows)]
    assert found == [["1", "0"], ["2", "3"]]


def test_times_without_an_offset_are_read_among_times_in_utc_in_sqlite(sqlite: Server) -> None:
    endpoint = make(sqlite, "TIMESTAMP NOT NULL")
    stamps = ["2024-01-01T09:00:00Z", "2024-01-01T13:00:00", "2024-01-01T12:30:00Z"]
    stamps += ["2024-01-01T06:00:00", "2024-02-01T00:00:00Z"]
    insert(sqlite, endpoint, "orders", [{"id": i, "changed": t} for i, t in enumerate(stamps)])
    for zone, missed in (("America/New_York", {"1", "2", "4"}), ("Asia/Tokyo", {"2", "4"})):
        spec = stream(types={"changed": "timestamp"}, time_zone=zone)
        found = keys(pull(endpoint, spec, "2024-01-01T12:00:00.000000+00:00"))
        assert missed <= set(found)


def test_a_time_with_another_offset_near_the_bound_is_refused_in_sqlite(sqlite: Server) -> None:
    """12:00 at -05:00 is behind a bound of 14:00, but its text is below it."""
    endpoint = make(sqlite, "TIMESTAMP NOT NULL")
    stamps = ["2023-01-01T00:00:00Z", "2024-01-01T12:00:00-05:00", "2025-01-01T00:00:00Z"]
    insert(sqlite, endpoint, "orders", [{"id": i, "changed": t} for i, t in enumerate(stamps)])
    spec = stream(types={"changed": "timestamp"})
    with pytest.raises(ConfigError, match="the order of the text is not the order of time"):
        pull(endpoint, spec, "2024-01-01T14:00:00.000000+00:00")


def test_times_with_other_offsets_in_sqlite_are_refused_as_a_cursor(sqlite: Server) -> None:
    endpoint = make(sqlite, "TIMESTAMP NOT NULL")
    insert(sqlite, endpoint, "orders", [{"id": 1, "changed": "2024-01-01T12:00:00+02:00"}])
    spec = stream(types={"changed": "timestamp"})
    with pytest.raises(ConfigError, match="the order of the text is not the order of time"):
        pull(endpoint, spec, "2024-01-01T00:00:00.000000+00:00")


def test_a_watermark_of_another_kind_of_cursor_is_refused(sql_server: Server) -> None:
    endpoint = make(sql_server, f"{STAMP[sql_server.kind]} NOT NULL")
    for low in (5, "yesterday", "2024-01-01T00:00:00.000000+00:00"):
        with pytest.raises(ConfigError, match="is not of the cursor's type datetime"):
            pull(endpoint, stream(), low)

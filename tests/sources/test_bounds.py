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
    assert spelling == "mixed" or "0" not in found
    early = ("2024-01-01T00:00:00Z", "2024-01-01T12:00:00Z")
    late = ("2024-01-01T12:00:00Z", "2024-01-02T00:00:00Z")
    windows = [keys(pull(endpoint, spec, window=window)) for window in (early, late)]
    assert sorted(str(key) for window in windows for key in window) == ["0", "1", "2"]


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

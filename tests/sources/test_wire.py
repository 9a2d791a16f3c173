"""Answers of MariaDB read column by column are what PyMySQL reads cell by cell."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pymysql
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymysql.cursors import SSCursor

from services import Server
from tidegate.connections import Endpoint
from tidegate.errors import DataError, UnavailableError
from tidegate.sources.rows import cells
from tidegate.sources.rows.fitting import Spec
from tidegate.sources.sql import wire
from tidegate.sources.sql.session import Session
from tidegate.types import Column, ColumnType

WIDE = 16_777_215
"""Octets that a packet holds; what is longer goes on in the next."""
TABLE = """CREATE TABLE cells (id INT PRIMARY KEY, tiny TINYINT, big BIGINT UNSIGNED,
    exact DECIMAL(38,9), wide DECIMAL(65,30), number DOUBLE, word VARCHAR(300) COLLATE utf8mb4_bin,
    octets VARBINARY(300), day DATE, clock TIME(6), moment DATETIME(6), stamp TIMESTAMP(3) NULL)"""
TYPES = {
    "id": "int32", "tiny": "int16", "big": "decimal(20,0)", "exact": "decimal(38,9)",
    "wide": "decimal(65,30)", "number": "float64", "word": "string", "octets": "bytes",
    "day": "date", "clock": "time", "moment": "datetime", "stamp": "timestamp",
}  # fmt: skip
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-128, 127),
        st.none() | st.integers(0, 2**64 - 1),
        st.none() | st.decimals(-(10**28), 10**28, places=9),
        st.none() | st.decimals(-(10**30), 10**30, places=30),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.text(max_size=300),
        st.none() | st.binary(max_size=300),
        st.none() | st.dates() | st.just("0000-00-00"),
        st.none() | st.times() | st.just("-12:30:00") | st.just("100:00:00.5"),
        st.none() | st.datetimes() | st.just("2024-00-00"),
        st.none() | st.just("2024-02-29 23:59:59.999"),
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def shop(mariadb: Server) -> Endpoint:
    endpoint = mariadb.fresh()
    mariadb.execute(endpoint, TABLE, "SET GLOBAL max_allowed_packet = 1024 * 1024 * 64")
    return endpoint


@pytest.fixture(scope="module")
def driver(shop: Endpoint) -> Iterator[Any]:
    """PyMySQL, as it is."""
    with closing(_connected(shop)) as connection:
        yield connection


def _connected(shop: Endpoint) -> Any:
    return pymysql.connect(
        host=shop.host, port=shop.port or 0, user=shop.user, password=shop.password or "",
        database=shop.database, charset="utf8mb4", autocommit=True,
        init_command="SET SESSION sql_mode = '', time_zone = '+00:00'",
    )  # fmt: skip


def _asked(driver: Any, query: str) -> wire.Wire:
    with driver.cursor(SSCursor) as cursor:
        cursor.execute(query)
        return wire.read(cursor, "shop")


def _plain(driver: Any, query: str) -> list[Any]:
    with driver.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def _spec(name: str) -> Spec:
    return Spec(Column(name, ColumnType.parse(TYPES[name])), False, UTC)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS)
def test_all_values_are_those_that_the_driver_reads(driver: Any, rows: list[Any]) -> None:
    with driver.cursor() as cursor:
        cursor.execute("DELETE FROM cells")
        marks = ", ".join(["%s"] * len(TYPES))
        numbered = [(number, *row) for number, row in enumerate(rows)]
        cursor.executemany(f"INSERT INTO cells VALUES ({marks})", numbered)
    query = "SELECT * FROM cells ORDER BY id"
    found, expected = _asked(driver, query), _plain(driver, query)
    assert found.rows() == expected
    assert [found.row(number) for number in range(len(rows))] == expected
    assert found.head(2).rows() == expected[:2]
    for place, name in enumerate(TYPES):
        values = [row[place] for row in expected]
        array, unfit = cells.convert(found.column(place, _spec(name)), _spec(name))
        wanted, refused = cells.convert(values, _spec(name))
        assert array.equals(wanted), name
        assert {row: str(why) for row, why in unfit.items()} == {
            row: str(why) for row, why in refused.items()
        }


def test_plain_cells_come_as_arrays_and_odd_ones_by_the_driver(driver: Any) -> None:
    query = "SELECT 1, '00:00:01', '-12:30:00', CAST('2024-01-01' AS DATE), 'a'"
    found = _asked(driver, query.replace("'00:00:01'", "CAST('00:00:01' AS TIME(6))"))
    assert isinstance(found.column(0, _spec("id")), pa.Array)
    assert isinstance(found.column(1, _spec("clock")), pa.Array)
    assert isinstance(found.column(3, _spec("day")), pa.Array)
    assert isinstance(found.column(4, _spec("word")), pa.Array)
    assert found.column(4, _spec("octets")) == ["a"], "text is no octets"
    odd = _asked(driver, "SELECT CAST('-12:30:00' AS TIME)")
    assert isinstance(odd.column(0, _spec("clock")), list)


@pytest.mark.parametrize("size", [0, 250, 251, 252, 65_535, 65_536, 70_000])
def test_cells_of_every_length_are_found(driver: Any, size: int) -> None:
    query = f"SELECT NULL, REPEAT('x', {size}), 7 UNION ALL SELECT 'a', NULL, 8"
    assert _asked(driver, query).rows() == [(None, "x" * size, 7), ("a", None, 8)]


@pytest.mark.parametrize("size", [WIDE - 6, WIDE - 5, WIDE - 4, WIDE, 2 * WIDE, 2 * WIDE + 9])
def test_rows_that_fill_packets_are_put_together(shop: Endpoint, size: int) -> None:
    query = f"SELECT REPEAT('x', {size}), 7 UNION ALL SELECT 'a', 8"
    with closing(_connected(shop)) as driver:
        found = _asked(driver, query)
        long, short = found.rows()
        assert (len(long[0]), set(long[0]), long[1], short) == (size, {"x"}, 7, ("a", 8))
        assert pa.array(found.column(1, _spec("id"))).to_pylist() == [7, 8]
        assert _plain(driver, "SELECT 1") == [(1,)], "nothing is left on the line"


def test_an_answer_without_rows_is_empty(driver: Any) -> None:
    found = _asked(driver, "SELECT 1, 'a' FROM DUAL WHERE false")
    assert (len(found), found.rows(), len(found.column(0, _spec("id")))) == (0, [], 0)


def test_text_that_is_not_what_it_says_is_told(driver: Any, shop: Endpoint) -> None:
    found = _asked(driver, "SELECT 'a'")
    rubbish = wire.Wire("shop", found.readers, found.answer.copy(), found.cells)
    rubbish.answer[rubbish.cells[0][0]] = 0xFF
    with pytest.raises(DataError, match=r"shop: text that is not utf-8: 0xff\. .* as bytes"):
        rubbish.column(0, _spec("word"))


def test_an_error_after_some_rows_is_the_servers(shop: Endpoint) -> None:
    session = Session(shop, 1)
    slow = sa.text("SELECT seq, SLEEP(IF(seq > 100000, 5, 0)) FROM seq_1_to_100002")
    with pytest.raises(UnavailableError, match=r"took too long \(1969\)"):
        session.fetch(slow)  # type: ignore[arg-type]
    session.close()


def test_a_connection_that_dies_meanwhile_is_lost(mariadb: Server, shop: Endpoint) -> None:
    with closing(_connected(shop)) as driver, driver.cursor(SSCursor) as cursor:
        cursor.execute("SELECT seq, REPEAT('x', 1000) FROM seq_1_to_100000")
        mariadb.execute(shop, f"KILL {driver.thread_id()}")
        with pytest.raises(pymysql.OperationalError, match=r"Lost connection|killed"):
            wire.read(cursor, "shop")


def test_packets_out_of_order_are_not_taken() -> None:
    packet = struct.pack("<I", 2)[:3] + bytes([9]) + b"\x01a"
    closed: list[bool] = []
    driver = SimpleNamespace(
        _next_seq_id=5, _rfile=BytesIO(packet), _force_close=lambda: closed.append(True)
    )
    reply = SimpleNamespace(connection=driver, converters=[("utf8", None)])
    with pytest.raises(pymysql.OperationalError, match="out of order"):
        wire.read(SimpleNamespace(_result=reply), "shop")
    assert closed

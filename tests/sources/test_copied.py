"""Rows that PostgreSQL copies out are what psycopg reads cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services import Server
from tidegate.connections import Endpoint
from tidegate.errors import DataError, UnavailableError
from tidegate.sources.rows import cells
from tidegate.sources.rows.fitting import Spec
from tidegate.sources.sql import copied
from tidegate.sources.sql.session import Session
from tidegate.types import Column, ColumnType

TABLE = """CREATE TABLE cells (id INT PRIMARY KEY, yes BOOL, small SMALLINT, big BIGINT,
    exact NUMERIC(38,9), any_exact NUMERIC, number DOUBLE PRECISION, word TEXT, octets BYTEA,
    day DATE, clock TIME, moment TIMESTAMP, stamp TIMESTAMPTZ, notes JSONB)"""
TYPES = {
    "id": "int32", "yes": "bool", "small": "int16", "big": "int64", "exact": "decimal(38,9)",
    "any_exact": "numeric", "number": "float64", "word": "string", "octets": "bytes",
    "day": "date", "clock": "time", "moment": "datetime", "stamp": "timestamp",
}  # fmt: skip
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
ODD_DAYS = st.sampled_from(["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
ROWS = st.lists(
    st.tuples(
        st.none() | st.booleans(),
        st.none() | st.integers(-(2**15), 2**15 - 1),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.decimals(-(10**28), 10**28, places=9) | st.just("NaN"),
        st.none() | st.decimals(-(10**30), 10**30, places=4) | st.just("NaN"),
        st.none() | st.floats(),
        st.none() | WORDS | st.sampled_from(["", '"', "\\.", "NULL", "a\nb,c\r\n", "\\N", "t"]),
        st.none() | st.binary(max_size=40),
        st.none() | st.dates() | ODD_DAYS,
        st.none() | st.times() | st.just("24:00"),
        st.none() | st.datetimes() | ODD_DAYS,
        st.none() | st.datetimes(timezones=st.just(UTC)) | ODD_DAYS,
        st.none() | st.sampled_from(['{"a": [1, "x\\ny"]}', "null", '""']),
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def shop(postgres: Server) -> Endpoint:
    endpoint = postgres.fresh()
    postgres.execute(endpoint, TABLE)
    return endpoint


@pytest.fixture(scope="module")
def session(shop: Endpoint) -> Iterator[Session]:
    made = Session(shop, 30)
    yield made
    made.close()


def _spec(name: str) -> Spec:
    return Spec(Column(name, ColumnType.parse(TYPES[name])), False, UTC)


def _selected(*columns: str) -> Any:
    return sa.select(*map(sa.literal_column, columns))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS)
def test_all_values_are_those_that_the_driver_reads(
    shop: Endpoint, postgres: Server, session: Session, rows: list[Any]
) -> None:
    marks = ", ".join(["%s"] * (len(TYPES) + 1))
    with postgres.engine(shop).begin() as connection:
        connection.exec_driver_sql("DELETE FROM cells")
        for number, row in enumerate(rows):
            connection.exec_driver_sql(f"INSERT INTO cells VALUES ({marks})", (number, *row))
    names = [*TYPES, "notes::text"]
    query = _selected(*names).select_from(sa.text("cells")).order_by(sa.text("id"))
    found, plain = session.fetch(query), [tuple(row) for row in session.rows(query)]
    assert repr(found.rows()) == repr(plain)
    assert repr([found.row(number) for number in range(len(rows))]) == repr(plain)
    assert repr(found.head(2).rows()) == repr(plain[:2])
    for place, name in enumerate(TYPES):
        spec = _spec(name)
        array, unfit = cells.convert(found.column(place, spec), spec)
        wanted, refused = cells.convert([row[place] for row in plain], spec)
        assert array.equals(wanted), name
        assert {row: str(why) for row, why in unfit.items()} == {
            row: str(why) for row, why in refused.items()
        }


@pytest.mark.parametrize(
    ("sql", "name"),
    [("7", "id"), ("true", "yes"), ("1.5::numeric(38,9)", "exact"), ("'a'::text", "word"),
     ("'2024-01-01'::date", "day"), ("now()", "stamp"), ("localtime", "clock")],
)  # fmt: skip
def test_plain_cells_come_as_arrays(session: Session, sql: str, name: str) -> None:
    assert isinstance(session.fetch(_selected(sql)).column(0, _spec(name)), pa.Array)


def test_text_is_no_octets_and_octets_are_no_text(session: Session) -> None:
    found = session.fetch(_selected("'a'::text", "'\\x61'::bytea"))
    assert found.column(0, _spec("octets")) == ["a"]
    assert found.column(1, _spec("word")) == [b"a"]
    assert found.column(1, _spec("octets")) == [b"a"]


def test_a_single_column_of_nothing_keeps_its_rows(session: Session) -> None:
    query = _selected("NULL::text").select_from(sa.text("generate_series(1, 3)"))
    found = session.fetch(query)
    assert found.rows() == [(None,)] * 3


def test_a_mark_of_byte_order_is_text_like_any_other(session: Session) -> None:
    for text in ("\ufeffabc", "\ufeff", "\ufeff\ufeff"):
        found = session.fetch(_selected(f"'{text}'::text"))
        assert found.rows() == [(text,)]
        assert found.column(0, _spec("word")).to_pylist() == [text]  # type: ignore[union-attr]


def test_a_page_of_too_many_octets_is_told(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied, "_MOST", 1000)
    with pytest.raises(DataError, match=r"a page has more than 2 GB\. Lower page_rows\."):
        session.fetch(_selected("repeat('x', 2000)"))
    assert session.fetch(_selected("1")).rows() == [(1,)]


def test_a_row_of_many_octets_is_one_row(session: Session) -> None:
    found = session.fetch(_selected("repeat('x', 30000000)", "7"))
    ((long, seven),) = found.rows()
    assert (len(long), seven) == (30_000_000, 7)


def test_values_and_percent_signs_travel_as_they_are(session: Session) -> None:
    for value in ("it's", "50%", "%s", "%(a)s", "\\", "é\n", 7, 1.5):
        query = sa.select(sa.bindparam("a", value, sa.types.NullType()).label("100%"))
        assert [str(cell) for cell in session.fetch(query).row(0)] == [str(value)]
    assert session.fetch(_selected("'50%'::text")).rows() == [("50%",)]


def test_a_copy_that_takes_too_long_is_ended(shop: Endpoint) -> None:
    session = Session(shop, 1)
    with pytest.raises(UnavailableError, match=r"took too long \(57014\)"):
        session.fetch(_selected("pg_sleep(20)::text"))
    assert session.fetch(_selected("1")).rows() == [(1,)]
    session.close()


def test_a_connection_that_dies_is_lost(shop: Endpoint, postgres: Server) -> None:
    session = Session(shop, 30)
    pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
    postgres.execute(shop, f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(UnavailableError, match="does not answer"):
        session.fetch(_selected("1"))
    with pytest.raises(UnavailableError, match="was lost meanwhile"):
        session.scalar(sa.text("SELECT 1"))
    session.close()

"""The whole path over rows that are rare, and would be wrong for good: flags in bits, no cursor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services import Server
from shops import Shop
from test_path import held, now, opened, row
from tidegate.errors import ConfigError, DataError
from tidegate.model import Mode, Watermark


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def small(sqlite: Server) -> Shop:
    return opened(sqlite, sqlite)


def test_rows_that_every_run_reads_again_do_not_stop_each_of_them(small: Shop) -> None:
    """A zero date lies below every watermark: that row is in each increment, and always held."""
    small.fields |= {"lookback": "1m"}
    small.insert(*(row(n) for n in range(1, 100)), row(500, changed="0000-00-00"))
    assert small.run().quarantined == 1

    small.fields |= {"stop_above": "0.5%"}
    small.insert(row(101, changed=now()))
    report = small.run()
    assert (report.pulled, report.inserted, report.quarantined) == (2, 1, 1)

    small.change(500, total="2.00")
    with pytest.raises(DataError, match=r"1 of 2 rows \(50.0%\) are held"):
        small.run()
    assert list(held(small)) == ["500"]


def test_a_deletion_arrives_whatever_else_is_wrong_with_its_row(small: Shop) -> None:
    small.insert(row(1), row(2))
    small.run(
        deleted={"column": "gone"},
        expect=[
            {"name": "expect_column_values_to_be_in_set",
             "arguments": {"column": "status", "value_set": ["paid"]}},
        ],
    )  # fmt: skip
    small.change(1, gone=1, status="???")
    small.change(2, status="???")
    report = small.run()
    assert (report.deleted, report.quarantined) == (1, 1)
    assert list(held(small)) == ["2"]
    assert set(small.stored("_key", tail="WHERE _deleted")) == {"1"}


@pytest.mark.parametrize(
    ("rule", "deleted"),
    [({}, {"2"}), ({"values": [1]}, {"2"}), ({"values": [True]}, {"2"}), ({"values": [0]}, {"1"})],
)
def test_a_bit_that_is_not_set_deletes_no_row(
    mariadb: Server, sqlite: Server, rule: dict[str, Any], deleted: set[str]
) -> None:
    shop = opened(mariadb, sqlite)
    shop.execute("ALTER TABLE orders ADD COLUMN dead BIT(1)")
    shop.insert(row(1, dead=b"\0"), row(2, dead=b"\1"), row(3, dead=None))
    shop.run(deleted={"column": "dead", **rule})
    assert set(shop.stored("_key", tail="WHERE _deleted")) == deleted


def test_octets_with_nul_are_no_text_and_hold_their_row(mariadb: Server, postgres: Server) -> None:
    """BINARY(5) is filled up with NUL; PostgreSQL would refuse the whole increment."""
    shop = opened(mariadb, postgres)
    shop.execute("ALTER TABLE orders ADD COLUMN code BINARY(5)")
    shop.insert(row(1, code=b"abcde"), row(2, code=b"abc"), row(3, code=None))
    shop.run(clean=[{"to_text": ["code"]}], types={}, expect=[])
    assert shop.stored("_key, code") == [("1", "abcde"), ("3", None)]
    assert held(shop) == {"2": ["to_text"]}


def test_the_watermark_of_one_column_is_not_taken_for_that_of_another(small: Shop) -> None:
    small.fields["lookback"] = 0
    small.execute(
        "ALTER TABLE orders ADD COLUMN version BIGINT",
        "CREATE INDEX by_version ON orders (version, id)",
    )
    small.insert(row(1000, version=5))
    small.run(cursor="id")
    small.change(1000, total="2.00", version=6)

    with pytest.raises(ConfigError, match="1000 is one of column 'id', which says nothing of"):
        small.run(cursor="version")

    assert small.run(Mode.FULL, cursor="version").watermark == Watermark(6)
    small.change(1000, total="3.00", version=7)
    small.run(cursor="version")
    assert [str(total) for total in small.stored("total")] == ["3.00"]

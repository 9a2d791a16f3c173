"""The whole path on real databases: what is held, what stops a run, what a run may be repeated."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services import Server
from shops import STAMP, Shop
from tidegate import objects, path, settings, stage
from tidegate.errors import BusyError, ConfigError, DataError, FencedError, MismatchError
from tidegate.job import Job
from tidegate.model import Mode, Watermark, Window
from tidegate.store.store import Store

T0 = datetime(2026, 3, 1, 12)
PAIRS = [("sqlite", "sqlite"), ("mariadb", "postgres"), ("postgres", "sqlite")]
FIELDS: dict[str, Any] = {
    "deleted": {"column": "gone"},
    "page_rows": 40,
    "types": {"gone": "int64"},
    "clean": [
        {"to_number": {"columns": ["total"], "type": "decimal(12,2)"}},
        {"fill_missing": {"columns": ["status"], "value": "new"}},
    ],
    "expect": [
        {
            "expect_column_values_to_be_in_set": {
                "column": "status",
                "value_set": ["new", "paid", "sent"],
            }
        }
    ],
    "load": {
        "entities": [{"type": "Order", "key": "id", "attributes": ["total", "status"]}],
        "relations": [
            {"type": "PLACED_BY", "from": "Order", "to": {"type": "Customer", "key": "customer"}}
        ],
    },
}


@pytest.fixture(params=PAIRS, ids="-to-".join)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Orders without a primary key in the database, as sad shops have them."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    server, store = (request.getfixturevalue(name) for name in request.param)
    return opened(server, store)


@pytest.fixture
def small(sqlite: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The same on SQLite alone, for what does not depend on the database."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    return opened(sqlite, sqlite)


def opened(server: Server, store: Server) -> Shop:
    shop = Shop(server, server.fresh(), store.fresh(), dict(FIELDS))
    stamp = STAMP[server.kind]
    shop.execute(
        "CREATE TABLE orders (id INTEGER, customer VARCHAR(20), total VARCHAR(40), "
        f"status VARCHAR(20), gone SMALLINT, changed {stamp} NOT NULL)",
        "CREATE UNIQUE INDEX by_id ON orders (id)",
        "CREATE INDEX by_changed ON orders (changed, id)",
    )
    return shop


def row(
    id: int | None, total: str | None = "1.00", status: str = "paid", **more: Any
) -> dict[str, Any]:
    seconds = 0 if id is None else id
    changed = str(T0 + timedelta(seconds=seconds))
    return {"id": id, "customer": "ann", "total": total, "status": status, "gone": 0,
            "changed": changed, **more}  # fmt: skip


def now(minutes: float = 0) -> str:
    """The time in this test, for rows that are written "now"."""
    moment = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=minutes)
    return moment.isoformat(" ", "microseconds")


def watermark(shop: Shop) -> Any:
    with shop.job().store() as store:
        return store.state("shop.orders").watermark


def held(shop: Shop, state: str = "held") -> dict[str, list[str]]:
    """Key → the rules it broke."""
    query = "key, reasons"
    rows = shop.stored(query, "tidegate_quarantine", f"WHERE state = '{state}' ORDER BY key")
    return {key: [reason["rule"] for reason in json.loads(text)] for key, text in rows}


def content(shop: Shop) -> list[list[Any]]:
    """All that a run can change, but tokens, run ids and times."""
    tables = {
        "shop__orders": "_key, id, customer, total, status, _deleted, _hash, _source_hash, _seq",
        "shop__orders__history": "_key, total, status, _deleted, _hash, _seq, _seq_to",
        "entity": "type, key, rule, CAST(attributes AS TEXT), record, stub, seq",
        "relation": "rule, record, from_key, to_key, seq",
        "tidegate_quarantine": "stream, key, state, reasons, source_hash, CAST(row AS TEXT)",
        "tidegate_run": "seq, mode, pulled, inserted, updated, deleted, unchanged, quarantined",
    }
    if shop.store.kind == "postgres":
        tables["tidegate_quarantine"] = tables["tidegate_quarantine"].replace("row", '"row"')
    return [
        sorted(shop.stored(columns, name, "WHERE 1 = 1"), key=repr)
        for name, columns in tables.items()
    ]


# Held rows (Must show 5) ---------------------------------------------------------------------


def test_three_bad_rows_wait_with_their_reasons_and_the_good_ones_are_loaded(shop: Shop) -> None:
    shop.insert(
        row(1), row(2, total="twelve"), row(3, status="lost"), row(None, total="9.00"), row(4)
    )

    report = shop.run()

    assert (report.pulled, report.inserted, report.quarantined) == (5, 2, 3)
    assert report.accounted == report.pulled
    assert shop.stored("_key") == ["1", "4"]
    found = held(shop)
    (nameless,) = [key for key in found if key.startswith("?")]
    assert found == {
        nameless: ["NULL key"],
        "2": ["to_number"],
        "3": ["expect_column_values_to_be_in_set"],
    }
    with shop.job().store() as store:
        shown = {item["key"]: item for item in store.held()}
        (line,) = store.runs("shop.orders")
    assert shown["2"]["row"] | {"changed": None} == {
        "id": 2, "customer": "ann", "total": "twelve", "status": "paid", "gone": 0, "changed": None,
    }  # fmt: skip
    assert "'twelve'" in shown["2"]["reasons"][0]["message"]
    assert "'lost'" in shown["3"]["reasons"][0]["message"]
    assert (line["pulled"], line["inserted"], line["quarantined"]) == (5, 2, 3)
    assert [check["failed"] for check in line["checks"]] == [1]
    assert line["cleaned"][0][0] == "to_number"


def fill(shop: Shop, bad: int, of: int = 100) -> None:
    shop.insert(*(row(n, status="lost" if n <= bad else "paid") for n in range(1, of + 1)))


def test_more_bad_rows_than_allowed_stop_the_run_before_anything_is_loaded(shop: Shop) -> None:
    shop.insert(row(1000, total="x"))
    fill(shop, 5, of=99)

    with pytest.raises(DataError) as error:
        shop.run(stop_above="5%")

    told = str(error.value)
    assert told.startswith("shop.orders: 6 of 100 rows (6.0%) are held, more than stop_above: 5%.")
    assert "Nothing was loaded." in told
    assert "5 × status: expect_column_values_to_be_in_set; 1 × total: to_number" in told
    assert not shop.has("shop__orders")
    for table in ("tidegate_run", "tidegate_quarantine", "entity", "relation"):
        assert shop.stored("*", table) == []
    assert watermark(shop) is None

    shop.change(1, status="paid")
    assert shop.run(stop_above="5%").quarantined == 5


def test_a_failed_run_leaves_what_earlier_runs_loaded(small: Shop) -> None:
    fill(small, 0)
    small.run()
    before, mark = content(small), watermark(small)
    for number in range(1, 7):
        small.change(number, status="lost")

    with pytest.raises(DataError, match="6 of 100 rows"):
        small.run(stop_above="5%")

    assert content(small) == before
    assert watermark(small) == mark


@pytest.mark.parametrize(
    ("limit", "rows", "most"),
    [
        ("5%", 100, 5),
        ("5%", 10, 5),
        ("0%", 10, 0),
        ("0.29%", 10_000, 29),
        ("33.3%", 1000, 333),
        (3, 10, 3),
    ],
)
def test_exactly_the_share_allowed_passes_and_one_row_more_does_not(
    small: Shop, limit: str | int, rows: int, most: int
) -> None:
    fill(small, most + 1, of=rows)
    with pytest.raises(DataError, match=rf"{most + 1} of {rows:,} rows"):
        small.run(stop_above=limit, page_rows=5_000)
    small.change(1, status="paid")
    assert small.run(stop_above=limit, page_rows=5_000).quarantined == most


def test_a_repair_holds_what_it_finds_however_large_its_share(small: Shop) -> None:
    fill(small, 0)
    small.run()
    small.change(7, status="lost")
    repair = replace(small.request(Mode.REPAIR), keys=("7", "8"))

    assert path.run(small.job(stop_above=0), repair).quarantined == 1


def test_a_table_that_fails_as_a_whole_loads_nothing(shop: Shop) -> None:
    fill(shop, 0, of=3)
    rule = {"expect_table_row_count_to_be_between": {"min_value": 10}}

    with pytest.raises(DataError) as error:
        shop.run(expect=[rule])

    assert str(error.value).startswith("shop.orders: nothing was loaded. ")
    assert "expect_table_row_count_to_be_between" in str(error.value)
    assert not shop.has("shop__orders")
    assert watermark(shop) is None


def test_a_row_mended_at_the_source_is_loaded_and_leaves_the_quarantine(shop: Shop) -> None:
    shop.insert(row(1), row(2, total="twelve"))
    assert shop.run().quarantined == 1

    shop.change(2, total="12.00", changed=now())
    report = shop.run()

    assert (report.inserted, report.unchanged, report.quarantined) == (1, 1, 0)
    assert report.details["mended"] == 1
    assert held(shop) == {}
    assert held(shop, "mended") == {"2": ["to_number"]}
    assert [str(total) for total in shop.stored("total", tail="WHERE _key = '2'")] == ["12.00"]


def test_a_row_that_turns_bad_is_held_and_its_last_good_version_stays(shop: Shop) -> None:
    shop.insert(row(1))
    shop.run()
    shop.change(1, status="lost")
    assert shop.run().quarantined == 1
    assert shop.stored("status") == ["paid"]
    assert held(shop) == {"1": ["expect_column_values_to_be_in_set"]}


# Changes -------------------------------------------------------------------------------------


def test_updates_deletes_and_returns_arrive_with_their_history(shop: Shop) -> None:
    shop.insert(row(1), row(2), row(3))
    assert shop.run().inserted == 3

    shop.change(1, total="5.00", changed=now())
    shop.change(2, gone=1, changed=now())
    report = shop.run()
    assert (report.updated, report.deleted, report.unchanged) == (1, 1, 1)
    assert shop.stored("_key", tail="WHERE _deleted ORDER BY 1") == ["2"]
    assert shop.stored("key", "entity", "WHERE type = 'Order' ORDER BY 1") == ["1", "3"]
    assert shop.stored("record", "relation", "WHERE 1 = 1 ORDER BY 1") == ["1", "3"]

    shop.change(2, gone=0, changed=now())
    report = shop.run()
    assert (report.updated, report.unchanged) == (1, 2)
    assert shop.stored("_key", tail="WHERE _deleted") == []
    assert shop.stored("key", "entity", "WHERE type = 'Order' ORDER BY 1") == ["1", "2", "3"]
    assert shop.stored("record", "relation", "WHERE record = '2'") == ["2"]
    columns = "_key, CAST(total AS TEXT), _seq, _seq_to"
    history = shop.stored(columns, "shop__orders__history", "WHERE 1 = 1 ORDER BY 1, 3")
    assert history == [("1", "1.00", 1, 2), ("2", "1.00", 1, 2), ("2", "1.00", 2, 3)]


@pytest.mark.parametrize(
    ("kind", "alive", "dead"),
    [
        ("BOOLEAN", 0, 1),
        ("INTEGER", 0, 7),
        ("REAL", 0.0, 0.5),
        ("NUMERIC", 0, 1),
        ("DECIMAL(3,1)", 0, 2),
        ("DATETIME", None, "2026-03-01 12:00:00"),
        ("TEXT", None, "yes"),
    ],
)
def test_what_is_not_zero_and_not_null_marks_a_deleted_row(
    small: Shop, kind: str, alive: Any, dead: Any
) -> None:
    small.execute(f"ALTER TABLE orders ADD COLUMN dropped {kind}")
    small.insert(row(1, dropped=alive), row(2, dropped=dead), row(3, dropped=None))
    report = small.run(deleted={"column": "dropped"}, types={})
    assert report.inserted == 3
    assert small.stored("_key", tail="WHERE _deleted ORDER BY 1") == ["2"]


def test_only_the_values_given_mark_a_deleted_row(small: Shop) -> None:
    small.execute("ALTER TABLE orders ADD COLUMN flag BOOLEAN")
    small.insert(row(1, status="PAID", flag=0), row(2, status="sent", flag=1))
    by_word = {"column": "status", "values": ["Sent", "lost"]}
    small.run(deleted=by_word, expect=[])
    assert small.stored("_key", tail="WHERE _deleted") == ["2"]
    small.run(deleted={"column": "flag", "values": [0]}, expect=[])
    assert small.stored("_key", tail="WHERE _deleted") == ["1"]


def test_a_delete_mark_that_cleaning_drops_is_a_mistake_that_is_named(small: Shop) -> None:
    small.insert(row(1))
    steps = [{"rename": {"gone": "removed"}}]
    with pytest.raises(ConfigError, match="deleted: names column 'gone', which is not there after"):
        small.run(clean=steps)


# What is read --------------------------------------------------------------------------------


def test_a_window_and_a_full_run_read_what_they_say(shop: Shop) -> None:
    shop.insert(*(row(n, changed=f"2026-03-0{n} 00:00:00") for n in range(1, 6)))
    window = Window.between(datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC))

    report = shop.run(Mode.WINDOW, window)

    assert (report.mode, report.inserted, report.watermark) == (Mode.WINDOW, 2, None)
    assert shop.stored("_key") == ["2", "3"]
    assert watermark(shop) is None

    first = shop.run(lookback="2m")
    mark = watermark(shop)
    assert (first.inserted, first.unchanged, first.watermark) == (3, 2, mark)
    assert shop.run(Mode.WINDOW, window).unchanged == 2
    assert watermark(shop) == mark

    full = shop.run(Mode.FULL, lookback="1m")
    assert (full.pulled, full.unchanged) == (5, 5)
    assert watermark(shop).cursor > mark.cursor


def test_a_run_without_news_moves_the_watermark_and_writes_no_ledger_line(shop: Shop) -> None:
    shop.insert(row(1))
    shop.run(lookback="2m")
    before = watermark(shop)

    report = shop.run(lookback="1m")

    assert (report.pulled, report.seq) == (0, None)
    assert report.watermark == watermark(shop)
    assert watermark(shop).cursor > before.cursor
    assert len(shop.stored("seq", "tidegate_run")) == 1


def test_an_empty_table_and_then_its_first_row(shop: Shop) -> None:
    assert shop.run(lookback="1m").pulled == 0
    assert isinstance(watermark(shop), Watermark)
    assert not shop.has("shop__orders")
    shop.insert(row(1, changed=now()))
    assert shop.run(lookback="1m").inserted == 1


def test_a_row_that_commits_late_is_found_within_the_lookback_and_not_beyond(shop: Shop) -> None:
    shop.insert(row(1, changed=now()))
    shop.run(lookback="10m")

    shop.insert(row(2, changed=now(-9)), row(3, changed=now(-60)))

    assert shop.run(lookback="10m").inserted == 1
    assert shop.stored("_key") == ["1", "2"]
    assert shop.run(Mode.FULL, lookback="10m").inserted == 1


def test_rows_stamped_after_the_bound_are_loaded_at_once_and_read_again(shop: Shop) -> None:
    shop.insert(row(1, changed=now(5)))
    assert shop.run(lookback="1m").inserted == 1
    assert shop.run(lookback="1m").unchanged == 1


# The source's table changes ------------------------------------------------------------------


def test_a_column_added_at_the_source_is_loaded(shop: Shop) -> None:
    shop.insert(row(1), row(2))
    shop.run()
    shop.execute("ALTER TABLE orders ADD COLUMN note VARCHAR(20)")
    shop.insert(row(3, note="fragile"))
    shop.change(2, note="late")

    report = shop.run()

    assert (report.inserted, report.pulled) == (1, 3)
    assert shop.stored("_key, note") == [("1", None), ("2", "late"), ("3", "fragile")]
    assert set(shop.stored("note", "shop__orders__history")) <= {None}
    assert shop.run().unchanged == 3


def test_a_column_that_goes_at_the_source_stays_in_the_history(shop: Shop) -> None:
    shop.execute("ALTER TABLE orders ADD COLUMN note VARCHAR(20)")
    shop.insert(row(1, note="fragile"))
    shop.run()
    shop.execute("ALTER TABLE orders DROP COLUMN note")
    shop.insert(row(2))
    report = shop.run(drift={"drop": "keep"})
    assert (report.inserted, report.updated) == (1, 1)
    assert shop.stored("note") == [None, None]
    assert shop.stored("note", "shop__orders__history") == ["fragile"]


def test_a_column_that_became_something_else_is_refused_by_name(shop: Shop) -> None:
    shop.insert(row(1))
    shop.run()
    before, mark = content(shop), watermark(shop)

    with pytest.raises(ConfigError) as error:
        shop.run(clean=[])

    assert str(error.value) == (
        "shop.orders: column 'total' is of type string now, but the store holds it as "
        "decimal(12,2). Nothing was loaded. Convert it in clean: or declare it under types: to "
        "have decimal(12,2) again, or rename it to begin another column."
    )
    assert content(shop) == before
    assert watermark(shop) == mark


def test_a_column_that_became_wider_goes_on(shop: Shop) -> None:
    shop.insert(row(1), row(2))
    shop.run(types={"gone": "int16"})
    wide = [{"to_number": {"columns": ["total"], "type": "decimal(20,4)"}}]
    shop.insert(row(3))
    shop.change(2, total="1234567890123456.7891")

    report = shop.run(clean=wide, types={"gone": "int64"})

    assert (report.updated, report.inserted) == (2, 1)
    totals = [Decimal(total) for total in shop.stored("total", tail="ORDER BY _key")]
    assert totals == [Decimal(1), Decimal("1234567890123456.7891"), Decimal(1)]
    with pytest.raises(ConfigError, match="int16 now, but the store holds it as int64"):
        shop.run(clean=wide, types={"gone": "int16"})


def test_what_is_missing_is_looked_up_in_the_store(shop: Shop) -> None:
    shop.execute(
        "CREATE TABLE rates (code VARCHAR(9) PRIMARY KEY, rate VARCHAR(9), "
        f"changed {STAMP[shop.source.kind]} NOT NULL)",
        "CREATE INDEX rates_by ON rates (changed, code)",
        "INSERT INTO rates VALUES ('ann', '1.25', '2026-03-01'), ('bob', '0.50', '2026-03-01')",
    )
    exact = {"to_number": {"columns": ["rate"], "type": "decimal(12,2)"}}
    job = shop.job(table="rates", primary_key="code", clean=[exact], expect=[], load={},
                   deleted=None, types={})  # fmt: skip
    rates = replace(job, name="rates")
    assert path.run(rates, replace(shop.request(), stream="shop.rates")).inserted == 2

    lookup = {"stream": "shop.rates", "key": "code", "value": "rate", "match": "customer"}
    shop.insert(
        row(1, customer="ann", total=None), row(2, customer="bob", total=None),
        row(3, customer="eve", total=None), row(4, customer="ann", total="7"),
    )  # fmt: skip
    number = {"to_number": {"columns": ["total"], "type": "decimal(12,2)"}}
    shop.run(clean=[number, {"fill_missing": {"columns": ["total"], "lookup": lookup}}])

    found = {key: total and str(total) for key, total in shop.stored("_key, total")}
    assert found == {"1": "1.25", "2": "0.50", "3": None, "4": "7.00"}


# Crashes and repeats ---------------------------------------------------------------------------


def test_a_run_goes_on_from_any_staged_step_with_the_same_result(shop: Shop) -> None:
    shop.insert(row(1), row(2, total="twelve"), row(3, status="lost"), row(4))
    job = shop.job()
    pulled = path.pull(job, shop.request())
    cleaned = path.clean(job, stage.load_manifest(pulled.where))
    valid = path.validate(job, stage.load_manifest(cleaned.where))
    report = path.load(job, stage.load_manifest(valid.where))
    assert (report.inserted, report.quarantined) == (2, 2)
    before = content(shop)

    for where, steps in (
        (pulled.where, [path.clean, path.validate]),
        (cleaned.where, [path.validate]),
        (valid.where, []),
    ):
        again = _go_on(job, where, steps)
        assert again.repeated
        assert (again.seq, again.inserted) == (report.seq, report.inserted)
        assert content(shop) == before


def _go_on(job: Job, where: str, steps: Iterable[Any]) -> Any:
    increment = stage.load_manifest(where)
    for step in steps:
        increment = step(job, increment)
    return path.load(job, increment)


def test_a_pull_that_was_killed_is_simply_done_again(shop: Shop) -> None:
    shop.insert(row(1), row(2))
    job, request = shop.job(), shop.request()
    path.pull(job, request)
    path.validate(job, path.clean(job, path.pull(job, request)))
    report = path.run(job, replace(request, attempt=2))
    assert report.inserted == 2
    assert shop.run().unchanged == 2


def test_of_two_runs_at_once_the_second_is_skipped(shop: Shop) -> None:
    shop.insert(row(1))
    job = shop.job()
    first = path.pull(job, shop.request())
    with pytest.raises(BusyError, match=r"shop\.orders: is being run by run-.*This run is skipped"):
        shop.run()
    assert path.load(job, path.validate(job, path.clean(job, first))).inserted == 1
    assert shop.run().unchanged <= 1


def test_a_run_that_another_one_took_over_loads_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.insert(row(1))
    job = shop.job()
    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", "0.001")
    slow = path.validate(job, path.clean(job, path.pull(job, shop.request())))
    shop.run()
    before = content(shop)
    with pytest.raises(FencedError, match="nothing is lost"):
        path.load(job, slow)
    assert content(shop) == before


def test_a_run_that_failed_for_good_gives_the_stream_back(
    shop: Shop,
) -> None:
    shop.insert(row(1))
    strict = shop.job(expect=[{"expect_table_row_count_to_be_between": {"min_value": 2}}])
    with pytest.raises(DataError):
        path.run(strict, shop.request())
    assert shop.run().inserted == 1


@pytest.mark.parametrize("step", ["pull", "clean", "validate"])
def test_a_staged_page_that_was_changed_is_not_used(small: Shop, step: str) -> None:
    small.insert(row(1), row(2, total="twelve"))
    job = small.job()
    steps = {"pull": path.pull(job, small.request())}
    steps["clean"] = path.clean(job, steps["pull"])
    steps["validate"] = path.validate(job, steps["clean"])
    page = objects.path(steps[step].where) / steps[step].pages[0].name
    page.write_bytes(page.read_bytes().replace(b"ann", b"eve"))
    later: Any = {"pull": path.clean, "clean": path.validate, "validate": path.load}[step]
    with pytest.raises(MismatchError, match=r"shop\.orders: .* is not what was staged\. Clear"):
        later(job, steps[step])
    if step == "pull":  # the rows as they were pulled go to quarantine
        with pytest.raises(MismatchError, match="is not what was staged"):
            path.load(job, steps["validate"])
    assert not small.has("shop__orders")


# Data Docs -----------------------------------------------------------------------------------


def test_what_ran_is_kept_for_data_docs_also_when_it_failed(small: Shop) -> None:
    from tidegate.validate.docs import build_docs

    small.insert(row(1), row(2, status="lost"))
    with pytest.raises(DataError):
        small.run(stop_above=0)

    index = build_docs(settings.home())

    (result,) = (index.parent / "validations").rglob("*.html")
    assert "status" in result.read_text()
    assert "lost" not in result.read_text()


def test_a_home_that_cannot_be_written_does_not_fail_the_run(
    small: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TIDEGATE_STAGE", f"file://{tmp_path}/stage")
    tmp_path.joinpath("home").write_text("a file, where a folder is wanted")
    small.insert(row(1))
    assert small.run().inserted == 1
    assert "shop.orders: nothing was kept for Data Docs" in caplog.text


def test_a_deleted_row_is_gone_whatever_cleaning_makes_of_its_cells(small: Shop) -> None:
    small.insert(row(1, gone=0), row(2, gone=0))
    small.run()
    for id, gone in ((1, 1), (2, 0)):
        small.change(id, total="twelve", gone=gone, changed=T0 + timedelta(hours=1))
    report = small.run()
    assert (report.deleted, report.quarantined) == (1, 1)
    assert small.stored("_key", tail="WHERE NOT _deleted") == ["2"]
    assert small.stored("key", "tidegate_quarantine", "WHERE state = 'held'") == ["2"]


def test_a_deletion_mark_that_cleaning_drops_is_an_error_also_beside_held_rows(small: Shop) -> None:
    small.insert(row(1, total="twelve", gone=0))
    clean = [*FIELDS["clean"], {"drop_columns": {"columns": ["gone"]}}]
    with pytest.raises(ConfigError, match="'gone', which is not there after cleaning"):
        small.run(clean=clean, expect=[])


def test_a_step_asks_the_store_only_when_the_lease_is_old(
    small: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its time is of the future: the step before ran where the clock is wrong."""
    small.insert(row(1), row(2))
    job, hour = small.job(), timedelta(hours=1).total_seconds()
    pulled = path.pull(job, small.request())
    asked: list[str] = []
    monkeypatch.setattr(Store, "renew", lambda _, stream, fence: asked.append(f"{stream} {fence}"))

    validated = path.validate(job, path.clean(job, pulled))

    assert (asked, validated.renewed) == ([], pulled.renewed)
    for late in (hour, -hour):
        asked.clear()
        cleaned = path.clean(job, replace(pulled, renewed=pulled.renewed - late))
        assert asked == ["shop.orders 1"]
        assert cleaned.renewed >= pulled.renewed
        path.validate(job, cleaned)
        assert asked == ["shop.orders 1"]
        path.validate(job, replace(cleaned, renewed=cleaned.renewed - late))
        assert asked == ["shop.orders 1"] * 2
    assert path.load(job, validated).inserted == 2


def test_an_old_lease_that_another_run_has_by_now_ends_a_step(small: Shop) -> None:
    small.insert(row(1))
    job, request = small.job(), small.request()
    pulled = path.pull(job, request)
    path.pull(job, request)  # tried again
    path.clean(job, pulled)
    with pytest.raises(FencedError):
        path.clean(job, replace(pulled, renewed=0.0))

"""Held rows tried again: what becomes of each, and what a replay never does to newer rows."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services import Server
from shops import Shop
from test_path import PAIRS, held, now, opened, row, watermark
from tidegate import path, stage
from tidegate.compare import compare
from tidegate.errors import DataError, RefusedError
from tidegate.model import Increment, Mode, Replay, Report

STATUS = "expect_column_values_to_be_in_set"
WIDER = [{STATUS: {"column": "status", "value_set": ["new", "paid", "sent", "lost"]}}]
"""The rule of test_path, mended: ``lost`` was a good word all the time."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))


@pytest.fixture(params=PAIRS, ids="-to-".join)
def shop(request: pytest.FixtureRequest) -> Shop:
    return calm(*(request.getfixturevalue(name) for name in request.param))


@pytest.fixture
def small(sqlite: Server) -> Shop:
    return calm(sqlite, sqlite)


def calm(server: Server, store: Server) -> Shop:
    """Rows of long ago are not read again: each stays in quarantine as it is."""
    shop = opened(server, store)
    shop.fields |= {"lookback": "1m"}
    return shop


def pulled(shop: Shop, wanted: Replay | None = None, **fields: Any) -> Increment:
    """A replay that has looked at the quarantine, and is about to load."""
    job = shop.job(**fields)
    request = replace(shop.request(Mode.REPLAY), replay=wanted)
    return path.validate(job, path.clean(job, path.pull(job, request)))


def replayed(shop: Shop, wanted: Replay | None = None, **fields: Any) -> Report:
    """The whole path, once."""
    return path.run(shop.job(**fields), replace(shop.request(Mode.REPLAY), replay=wanted))


def states(shop: Shop) -> dict[str, int]:
    return dict(Counter(shop.stored("state", "tidegate_quarantine")))


def fates(shop: Shop, *keys: str) -> list[tuple[Any, ...]]:
    """State, attempts and the commit of its fate, of each of *keys*."""
    found = shop.stored("key, state, attempts, fate_seq", "tidegate_quarantine")
    return [line[1:] for line in found if line[0] in keys]


def require_no_step_back(shop: Shop) -> None:
    """Of each record, every later reign is of a larger order token."""
    names = "_key, _seq, _token"
    reigns = shop.stored(names, tail="WHERE 1 = 1")
    reigns += shop.stored(names, "shop__orders__history", "WHERE _seq_to > _seq")
    last: dict[str, tuple[int, int]] = {}
    for key, seq, token in sorted(reigns):
        before = last.get(key, (0, 0))
        assert seq > before[0] and token >= before[1], key
        last[key] = (seq, token)


def lost(ids: Iterable[int]) -> list[dict[str, Any]]:
    return [row(id, status="lost") for id in ids]


# A thousand rows -------------------------------------------------------------------------------


def test_a_thousand_rows_are_replayed_after_newer_versions_of_half_of_them_came(
    shop: Shop,
) -> None:
    shop.insert(*(row(id) for id in range(1, 21)), *lost(range(101, 1101)))
    assert shop.run().quarantined == 1000
    moment = now()
    shop.execute(f"UPDATE orders SET status = 'sent', changed = '{moment}' WHERE id > 600")
    assert shop.run().details["mended"] == 500
    reached = watermark(shop)

    report = replayed(shop, Replay(mended=True), expect=WIDER)

    assert (report.mode, report.pulled, report.inserted, report.stale) == (
        Mode.REPLAY, 1000, 500, 500,
    )  # fmt: skip
    assert report.details["fates"] == {"outdated": 500, "replayed": 500}
    assert states(shop) == {"outdated": 500, "replayed": 500}
    settled = [fate[:2] for fate in fates(shop, "101", "1100")]
    assert settled == [("replayed", 2), ("outdated", 2)]
    assert watermark(shop) == reached
    assert compare(shop.job(expect=WIDER)).agrees
    require_no_step_back(shop)
    late = shop.stored("_key", "shop__orders__history", "WHERE _seq = _seq_to ORDER BY 1")
    assert sorted(late) == sorted(str(id) for id in range(601, 1101))
    assert shop.run(Mode.FULL, expect=WIDER).unchanged == 1020


def test_rows_that_came_while_the_replay_ran_are_not_overwritten(shop: Shop) -> None:
    shop.insert(*lost(range(1, 401)))
    shop.run()
    replay = pulled(shop, expect=WIDER)
    moment = now()
    shop.execute(
        f"UPDATE orders SET status = 'sent', changed = '{moment}' WHERE id <= 100",
        f"UPDATE orders SET total = 'many', changed = '{moment}' WHERE id > 300",
    )
    shop.run()

    report = path.load(shop.job(expect=WIDER), replay)

    # Those above 300 are held anew: that newer version is another row to mend.
    assert report.details["fates"] == {"outdated": 100, "replayed": 200}
    assert states(shop) == {"outdated": 100, "replayed": 200, "held": 100}
    assert fates(shop, "400") == [("held", 1, None)]
    assert (report.inserted, report.stale) == (300, 100)
    assert shop.stored("count(*)", tail="WHERE status = 'sent'") == [100]
    assert compare(shop.job()).agrees
    require_no_step_back(shop)


# Fates -----------------------------------------------------------------------------------------


def test_what_fails_again_stays_held_with_its_new_reasons(shop: Shop) -> None:
    shop.insert(row(1, status="lost"), row(2, status="odd"), row(3, total="many"), row(None))
    shop.run()
    (nameless,) = [key for key in held(shop) if key.startswith("?")]
    before = shop.stored("key, token, source_hash, seq, held_at", "tidegate_quarantine")
    narrower = [{STATUS: {"column": "status", "value_set": ["odd"]}}]

    report = replayed(shop, expect=narrower)

    assert (report.pulled, report.inserted, report.quarantined) == (4, 1, 3)
    assert report.details["fates"] == {"held": 3, "replayed": 1}
    assert held(shop) == {
        nameless: ["NULL key"],
        "1": [STATUS],
        "3": ["to_number"],
    }
    assert set(fates(shop, "1", "3", nameless)) == {("held", 2, 2)}
    assert shop.stored("key, token, source_hash, seq, held_at", "tidegate_quarantine") == before
    (text,) = shop.stored("reasons", "tidegate_quarantine", "WHERE key = '1'")
    assert "odd" in json.loads(text)[0]["message"]
    assert replayed(shop, expect=narrower).details["fates"] == {"held": 3}
    assert set(fates(shop, "1", "3", nameless)) == {("held", 3, 3)}


def test_what_is_held_anew_begins_anew(small: Shop) -> None:
    small.insert(row(1, status="lost"))
    small.run()
    replayed(small)
    assert fates(small, "1") == [("held", 2, 2)]
    replayed(small, expect=WIDER)
    assert fates(small, "1") == [("replayed", 3, 3)]
    small.change(1, total="many", changed=now())
    small.run(expect=WIDER)
    assert fates(small, "1") == [("held", 1, None)]


def test_a_replay_reads_the_rows_that_were_asked_for(small: Shop) -> None:
    small.insert(*lost([1, 2, 3]), row(4, status="lost", total="many"))
    small.run()
    assert replayed(small, Replay(rule="to_number"), expect=WIDER).details["fates"] == {"held": 1}
    assert replayed(small, Replay(keys=("3", "9")), expect=WIDER).details["fates"] == {
        "replayed": 1
    }
    assert replayed(small, Replay(since="2999-01-01"), expect=WIDER).pulled == 0
    assert replayed(small, Replay(since="2020-01-01"), expect=WIDER).pulled == 3
    small.change(4, total="1.00", changed=now())
    small.run(expect=WIDER)
    assert replayed(small, expect=WIDER).pulled == 0
    assert replayed(small, Replay(mended=True), expect=WIDER).pulled == 1


def test_with_nothing_held_nothing_happens(small: Shop) -> None:
    assert replayed(small).pulled == 0
    small.insert(row(1))
    small.run()
    before = watermark(small)
    report = replayed(small)
    assert (report.pulled, report.seq, report.watermark) == (0, None, None)
    assert watermark(small) == before
    assert small.stored("mode", "tidegate_run") == ["increment"]


def test_rows_that_fail_again_never_stop_a_replay(small: Shop) -> None:
    small.insert(*lost(range(1, 201)))
    small.run()
    small.execute(f"UPDATE orders SET status = 'sent', changed = '{now()}' WHERE id < 50")
    with pytest.raises(DataError):
        small.run(stop_above=0, expect=[{STATUS: {"column": "status", "value_set": ["x"]}}])
    small.run()
    report = replayed(small, Replay(mended=True), stop_above=0)
    assert report.details["fates"] == {"held": 151, "mended": 49}
    assert states(small) == {"held": 151, "mended": 49}


def test_a_deletion_that_came_later_is_not_undone(shop: Shop) -> None:
    shop.insert(*lost([1, 2]))
    shop.run()
    replay = pulled(shop, expect=WIDER)
    shop.change(1, gone=1, changed=now())
    shop.run()
    report = path.load(shop.job(expect=WIDER), replay)
    assert report.details["fates"] == {"outdated": 1, "replayed": 1}
    assert shop.stored("_key", tail="WHERE _deleted ORDER BY 1") == ["1"]
    assert compare(shop.job(expect=WIDER)).agrees


# Side by side, and again -----------------------------------------------------------------------


def test_two_replays_at_once_come_to_one_result(shop: Shop) -> None:
    shop.insert(*lost(range(1, 11)))
    shop.run()
    one, two = pulled(shop, expect=WIDER), pulled(shop, expect=WIDER)
    old = pulled(shop)
    job = shop.job(expect=WIDER)
    assert path.load(job, one).details["fates"] == {"replayed": 10}
    again = path.load(job, two)
    assert (again.repeated, again.unchanged, again.details["fates"]) == (False, 10, {})
    assert path.load(job, old).details["fates"] == {}, "the rule before it was mended"
    assert fates(shop, "7") == [("replayed", 2, 2)]
    assert shop.stored("DISTINCT _seq") == [2]
    assert compare(job).agrees


def test_a_replay_and_a_run_do_not_overtake_each_other(shop: Shop) -> None:
    shop.insert(*lost([1, 2]))
    shop.run()
    shop.insert(row(3, changed=now()))
    job = shop.job(expect=WIDER)
    sync = path.validate(job, path.clean(job, path.pull(job, shop.request())))
    assert replayed(shop, expect=WIDER).details["fates"] == {"replayed": 2}
    assert path.load(job, sync).inserted == 1
    assert shop.stored("mode", "tidegate_run", "ORDER BY seq") == [
        "increment", "replay", "increment",
    ]  # fmt: skip
    require_no_step_back(shop)


def test_loads_at_one_moment_wait_for_each_other(shop: Shop) -> None:
    shop.insert(*lost(range(1, 201)))
    shop.run()
    job = shop.job(expect=WIDER)
    replays = [pulled(shop, expect=WIDER) for _ in range(3)]
    shop.execute(f"UPDATE orders SET status = 'sent', changed = '{now()}' WHERE id <= 100")
    sync = path.validate(job, path.clean(job, path.pull(job, shop.request())))

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda increment: path.load(job, increment), [*replays, sync]))

    assert sum(report.inserted for report in reports) == 200
    assert set(shop.stored("state", "tidegate_quarantine")) <= {"replayed", "outdated", "mended"}
    assert shop.stored("status, count(*)", tail="GROUP BY status ORDER BY 1") == [
        ("lost", 100), ("sent", 100),
    ]  # fmt: skip
    assert compare(job).agrees
    require_no_step_back(shop)


def test_a_replay_that_is_loaded_twice_is_reported_again(shop: Shop) -> None:
    shop.insert(*lost([1, 2]), row(3, total="many"))
    shop.run()
    increment = pulled(shop, expect=WIDER)
    job = shop.job(expect=WIDER)
    first = path.load(job, stage.load_manifest(increment.where))
    again = path.load(job, stage.load_manifest(increment.where))
    assert again.repeated
    assert (again.seq, again.inserted) == (first.seq, 2)
    assert again.details["fates"] == first.details["fates"] == {"held": 1, "replayed": 2}
    assert fates(shop, "1", "3") == [("replayed", 2, 2), ("held", 2, 2)]


def test_a_replay_that_fails_leaves_everything_as_it_was(small: Shop) -> None:
    small.insert(*lost([1, 2]))
    small.run()
    with pytest.raises(DataError):
        replayed(small, expect=[{"expect_table_row_count_to_equal": {"value": 3}}])
    assert fates(small, "1", "2") == [("held", 1, None)] * 2
    assert not small.stored("_key")


# Columns ---------------------------------------------------------------------------------------


def test_rows_of_older_columns_are_filled_up_and_never_bent(shop: Shop) -> None:
    shop.insert(*lost([1, 2]))
    shop.run()
    shop.execute(
        "DELETE FROM orders",  # with the new column, every row there is is read once more
        "ALTER TABLE orders ADD COLUMN note VARCHAR(20)",
        "ALTER TABLE orders DROP COLUMN customer",
    )
    fields: dict[str, Any] = {"load": {}, "clean": [], "drift": {"drop": "keep"}}
    fields["types"] = {"gone": "int64", "total": "decimal(12,2)"}
    shop.insert(_noted(3, "hi"))
    assert shop.run(load={}, drift=fields["drift"]).quarantined == 1
    assert replayed(shop, load={}, expect=WIDER).details["fates"] == {"held": 1, "replayed": 2}
    assert shop.stored("_key, note, status") == [("1", None, "lost"), ("2", None, "lost")]

    shop.insert(_noted(4, None))
    shop.execute("DELETE FROM orders WHERE id = 3")
    shop.run(**fields)
    everything = [{STATUS: {"column": "status", "value_set": ["lost", "odd"]}}]
    report = replayed(shop, **fields, expect=everything)
    assert report.details["fates"] == {"held": 1, "replayed": 1}
    (found,) = shop.stored("key, reasons", "tidegate_quarantine", "WHERE state = 'held'")
    assert (found[0], json.loads(found[1])[0]["rule"]) == ("3", "column changed")


def _noted(id: int, note: str | None) -> dict[str, Any]:
    values = {**row(id, status="odd", changed=now()), "note": note}
    del values["customer"]
    return values


def test_rows_of_a_store_whose_runs_noted_no_columns_take_those_of_the_source(
    small: Shop,
) -> None:
    small.insert(*lost([1, 2]))
    small.run()
    with closing(sqlite3.connect(str(small.store.database))) as store, store:
        store.execute("UPDATE tidegate_run SET source_columns = NULL")
    gone = replace(small, source=replace(small.source, database="/nowhere/at/all.db"))
    with pytest.raises(RefusedError, match=r"shop\.orders: no run has noted the columns"):
        replayed(gone, expect=WIDER)
    assert replayed(small, expect=WIDER).details["fates"] == {"replayed": 2}


def test_a_source_that_is_away_is_not_missed(small: Shop) -> None:
    small.insert(*lost([1]))
    small.run()
    gone = replace(small, source=replace(small.source, database="/nowhere/at/all.db"))
    assert replayed(gone, expect=WIDER).details["fates"] == {"replayed": 1}

"""What the store believes its source to have, by key and hash, and how far a verification is."""

from __future__ import annotations

import functools
import operator
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from store.increments import Desk
from tidegate.errors import FencedError
from tidegate.model import Watermark
from tidegate.store import open_store, verification
from tidegate.store.store import Store
from tidegate.store.verification import Sums

NAME = "shop.orders"


def run(store: Store, statement: str) -> None:
    with store._engine.begin() as connection:
        connection.execute(sa.text(statement))


def xor(numbers: Any) -> int:
    return functools.reduce(operator.xor, numbers, 0)


def rows(*ids: int | None, **more: Any) -> list[dict[str, Any]]:
    return [{"id": id, "customer": "ann", "gone": False, **more} for id in ids]


def test_effective_are_live_soft_deleted_duplicate_and_held_rows_once_each(
    store: Store, desk: Desk
) -> None:
    desk.load([*rows(1, 2, 3, 4, 5), *rows(None, 6, _held="bad")], marks=True)
    desk.load([*rows(2, gone=True), *rows(3, customer="bob"), *rows(4, customer="x", _held="bad")])
    run(store, "UPDATE shop__orders SET _source_hash = NULL, _deleted = true WHERE _key = '5'")
    held = {row["key"]: row["source_hash"] for row in store.held(NAME)}
    assert len(held) == 3  # with the row that has no key
    with store._reading() as connection:
        query = sa.text("SELECT _key, _source_hash FROM shop__orders")
        current = {row[0]: row[1] for row in connection.execute(query)}
    believed = dict(store.effective(NAME))
    assert believed == {key: current[key] for key in "123"} | {key: held[key] for key in "46"}
    assert store.size(NAME) == 5
    assert store.hashes(NAME, ["1", "4", "5", "7"]) == {
        "1": current["1"], "4": held["4"],
    }  # fmt: skip
    assert store.sums(NAME, 2, 5) == Sums(3, xor(believed[key] for key in "234"))
    assert store.sums(NAME, None, None, {"3", "5", "6"}) == Sums(
        3, xor(believed[key] for key in "124")
    )
    assert store.sums("shop.unheard_of", None, None) == Sums(0, 0)


def test_a_held_row_that_is_mended_counts_by_its_record_again(store: Store, desk: Desk) -> None:
    desk.load(rows(1))
    desk.load(rows(1, customer="bad", _held="bad"))
    desk.load(rows(1, customer="good"))
    with store._reading() as connection:
        (hash_,) = connection.execute(sa.text("SELECT _source_hash FROM shop__orders")).scalars()
    assert dict(store.effective(NAME)) == {"1": hash_}


NUMBERS = [0, 7, -7, 10, 99, 2**31, -(2**31), 10**18, 2**63 - 1, -(2**63), -(10**18), 10**19]


@pytest.mark.parametrize("composite", [False, True], ids=["one column", "several"])
@pytest.mark.parametrize("indexed", [False, True])
def test_ranges_go_by_the_first_number_of_the_key(
    store: Store, desk: Desk, composite: bool, indexed: bool
) -> None:
    desk.load(rows(*range(1000, 1000 + len(NUMBERS))))
    text: Callable[[int], str] = '["{}","a|b"]'.format if composite else str
    for place, number in enumerate(NUMBERS, 1000):
        run(store, f"UPDATE shop__orders SET _key = '{text(number)}' WHERE _key = '{place}'")
    run(store, "INSERT INTO shop__orders (_key, _source_hash, _deleted) VALUES ('odd', 5, false)")
    if indexed:
        store.number_keys(NAME, composite=composite)
        store.number_keys(NAME, composite=composite)
    believed = dict(store.effective(NAME))
    assert len(believed) == len(NUMBERS) + 1
    whole = [number for number in NUMBERS if abs(number) < 2**63 or number == -(2**63)]
    for first in [None, *whole[::2]]:
        for until in [None, *whole[::3]]:
            keys = {
                text(number) for number in whole
                if (first is None or number >= first) and (until is None or number < until)
            }  # fmt: skip
            found = dict(store.effective(NAME, first, until, composite=composite))
            assert keys <= found.keys()
            assert found.keys() - keys <= {"odd", text(10**19)}
            sums = store.sums(NAME, first, until, composite=composite)
            assert sums == Sums(len(found), xor(found.values()))
    every = dict(store.effective(NAME, None, None, composite=composite))
    assert every == believed
    far = dict(store.effective(NAME, -(2**80), 2**80, composite=composite))
    assert {text(number) for number in whole} <= far.keys()
    assert store.sums(NAME, 2**64, None, composite=composite).rows <= 2
    if indexed:  # loads do not mind
        desk.load(rows(77, 78))
        assert store.size(NAME) == len(NUMBERS) + 3


def test_a_range_is_found_by_the_index(postgres: Server, tmp_path: Any) -> None:
    with open_store(postgres.fresh()) as store:
        Desk(store, tmp_path).load(rows(*range(1, 3_001)), page_rows=1_000)
        store.number_keys(NAME)
        with store._engine.connect() as connection:
            from tidegate.store.record.effective import Effective

            asked = Effective(connection, NAME)
            query = asked._query(*asked.range(100, 200))
            text = query.replace("{current}", "shop__orders")
            plan = connection.execute(sa.text(f"EXPLAIN {text}"), asked._script.values).scalars()
            assert "shop__orders__key_number" in "\n".join(plan)


def test_of_two_that_make_the_index_one_waits_and_loads_go_on(
    postgres: Server, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = threading.Event()
    monkeypatch.setattr(verification, "sleep", lambda _: waits.set())
    name = {"name": "shop__orders__key_number"}
    oids = sa.text("SELECT indexrelid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    with open_store(postgres.fresh()) as store, ThreadPoolExecutor(2) as pool:
        Desk(store, tmp_path).load(rows(*range(100)))
        look = store._engine.execution_options(isolation_level="AUTOCOMMIT").connect()
        with look, store._engine.begin() as writer:
            writer.execute(sa.text("UPDATE shop__orders SET _deleted = false"))
            first = pool.submit(store.number_keys, NAME)  # it waits for the writer
            while not (made := look.execute(oids, name).scalars().all()):
                assert not first.done()
            second = pool.submit(store.number_keys, NAME)
            assert waits.wait(60)
            look.execute(sa.text("SET lock_timeout = '1s'"))
            look.execute(sa.text("DELETE FROM shop__orders WHERE _key = 'none'"))
        first.result()
        second.result()
        with store._reading() as connection:
            assert connection.execute(oids, name).scalars().all() == made
            assert verification._indexed(connection, name["name"])


def test_an_index_whose_making_was_interrupted_is_made_again(
    postgres: Server, tmp_path: Any
) -> None:
    with open_store(postgres.fresh()) as store:
        Desk(store, tmp_path).load(rows(1, 2))
        store.number_keys(NAME)
        run(store, "UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'shop__orders__key_number'::regclass")  # fmt: skip
        store.number_keys(NAME)
        with store._reading() as connection:
            assert verification._indexed(connection, "shop__orders__key_number")


def test_what_no_read_has_seen_since_a_token_is_told(store: Store, desk: Desk) -> None:
    desk.load([*rows(1, 2, 3), *rows(8, 9, _held="bad")])
    again = desk.stage([*rows(2), *rows(3, customer="bob"), *rows(9, _held="bad")])
    store.load(again, desk.stream)
    assert set(store.unseen(NAME, again.read << 20)) == {"1", "8"}
    assert set(store.unseen(NAME, (again.read - 1) << 20)) == set()


def test_many_keys_are_looked_up_and_left_out(store: Store, desk: Desk) -> None:
    count = 12_345
    desk.load(rows(*range(count)), page_rows=5_000)
    believed = dict(store.effective(NAME))
    some = {str(number) for number in random.Random(1).sample(range(2 * count), count)}
    expected = {key: hash_ for key, hash_ in believed.items() if key in some}
    assert store.hashes(NAME, some) == expected
    rest = {key: hash_ for key, hash_ in believed.items() if key not in some}
    assert store.sums(NAME, None, None, some) == Sums(len(rest), xor(rest.values()))


def test_progress_is_kept_and_found_again_until_it_is_done(store: Store, desk: Desk) -> None:
    desk.load(rows(1), high="2026-01-01")
    mark = Watermark("2026-01-01", "updated_at")
    begun = store.begin_verification(NAME, mark)
    assert store.unfinished("shop.other", "") is None
    assert store.unfinished(NAME, "9") is None
    assert store.unfinished(NAME, "") == begun
    kept = store.keep_verification(
        replace(begun, position={"first": 7}, counts={**begun.counts, "differing": 3})
    )
    assert store.unfinished(NAME, "") == kept
    stopped = store.keep_verification(replace(kept, state="stopped"))
    assert store.unfinished(NAME, "") == stopped
    done = store.keep_verification(replace(stopped, state="done"), verified=True)
    assert store.unfinished(NAME, "") is None
    assert (done.position, done.counts["differing"]) == (None, 3)
    (status,) = store.status()
    assert (status.verified_through, status.verified_at) == (mark, done.finished_at)
    assert store.verifications(NAME) == [done]


def test_of_two_that_go_on_with_one_verification_the_first_is_shut_out(
    store: Store, desk: Desk
) -> None:
    desk.load(rows(1), high="2026-01-01")
    begun = store.begin_verification(NAME, Watermark("2026-01-01"))
    other = store.keep_verification(begun)
    with pytest.raises(FencedError, match="another process went on with this verification"):
        store.keep_verification(replace(begun, state="done"), verified=True)
    assert store.unfinished(NAME, "") == other
    assert store.status()[0].verified_through is None

"""What the store answers, and how it refuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

import test_golden as golden
from store.deliveries import Delivery
from store.test_frames import TYPES as EVERY_TYPE
from store.test_reading_past import MEANS, VOCABULARY
from store.test_reading_past import TYPES as SHOP
from tidegate import store as package
from tidegate.errors import ConfigError, TrimmedError, UnavailableError
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store.store import Store

START = datetime(2026, 1, 1)


class Shop:
    """Orders, and the people who place them; two streams that tell of customers."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self._desks = {
            name: Delivery(store, folder, name, types, MEANS[name], words=VOCABULARY)
            for name, types in SHOP.items()
        }

    def orders(self, *rows: dict[str, Any]) -> int:
        """Load them; returns the commit."""
        return self._load("shop.orders", rows, {"gone": False, "at": START})

    def people(self, *rows: dict[str, Any]) -> int:
        """The same."""
        return self._load("crm.people", rows, {"at": START})

    def _load(self, name: str, rows: Any, default: dict[str, Any]) -> int:
        return int(self._desks[name].load([{**default, **row} for row in rows]).seq or 0)


@pytest.fixture
def shop(store: Store, tmp_path: Path) -> Shop:
    return Shop(store, tmp_path)


def test_every_answer_says_its_commit_and_is_the_same_when_asked_again(shop: Shop) -> None:
    store = shop.store
    shop.people({"name": "ann", "city": "Oslo", "boss": "bob", "rank": 1})
    seq = shop.orders({"id": 1, "customer": "ann", "total": Decimal("1.50"), "city": "Rome",
                       "items": '[{"sku": "p1", "qty": 2}]'})  # fmt: skip
    asked: list[Callable[..., Any]] = [
        lambda **at: store.record("shop.orders", "1", **at),
        lambda **at: store.entity("Customer", "ann", **at),
        lambda **at: store.entity("Customer", "bob", **at),
        lambda **at: store.neighbours("Customer", "ann", depth=3, **at),
        lambda **at: store.why("Customer", "ann", **at),
    ]
    before = [ask() for ask in asked]
    assert [answer.seq for answer in before] == [seq] * len(asked)
    frame = store.frame("shop.orders")

    shop.orders({"id": 1, "customer": "bob", "total": Decimal(9), "gone": True},
                {"id": 2, "customer": "ann", "items": '[{"sku": "p1"}]'})  # fmt: skip
    shop.people({"name": "bob", "rank": 3}, {"name": "ann", "city": "Bonn"})

    assert [ask(as_of_seq=seq) for ask in asked] == before
    assert [ask() for ask in asked] != before
    pd.testing.assert_frame_equal(store.frame("shop.orders", as_of_seq=seq), frame)
    assert frame.attrs == {"seq": seq}


def test_a_wall_clock_is_resolved_to_a_commit(shop: Shop) -> None:
    store = shop.store
    first, second = (shop.orders({"id": 1, "customer": name}) for name in ("ann", "bob"))
    at = [version.committed_at for version in store.history("shop.orders", "1").versions]
    assert at[0] and at[1]
    for moment, seq in (
        (at[0] - timedelta(microseconds=1), 0), (at[0], first),
        (at[1] - timedelta(microseconds=1), first), (at[1] + timedelta(days=1), second),
        (at[1].replace(tzinfo=None), second),
    ):  # fmt: skip
        assert store.seq_at(moment) == seq
        assert store.record("shop.orders", "1", as_of=moment).seq == seq
    assert store.entity("Customer", "ann", as_of=at[0]).exists
    assert not store.entity("Customer", "ann").exists
    with pytest.raises(ConfigError, match="as_of and as_of_seq"):
        store.record("shop.orders", "1", as_of=at[0], as_of_seq=1)
    with pytest.raises(UnavailableError, match="the store is at commit 2, not at 3"):
        store.record("shop.orders", "1", as_of_seq=3)


def test_a_read_waits_for_its_commit_or_says_how_far_the_store_is(shop: Shop) -> None:
    store = shop.store
    shop.orders({"id": 1, "customer": "ann"})
    with pytest.raises(UnavailableError, match=r"at commit 1 after 0\.05 s, not at 2 yet"):
        store.wait(2, timeout=0.05)
    writer = threading.Timer(0.1, shop.orders, [{"id": 1, "customer": "bob"}])
    writer.start()
    answer = store.record("shop.orders", "1", min_seq=2)
    writer.join()
    assert answer.seq == 2
    assert answer.version is not None and answer.version.row["customer"] == "bob"
    assert store.wait(1).seq == 2


def test_a_snapshot_does_not_move_while_others_load(shop: Shop) -> None:
    store = shop.store
    shop.orders({"id": 1, "customer": "ann", "items": '[{"sku": "p1"}]'})
    with store.snapshot(min_seq=1) as view:
        shop.orders({"id": 1, "customer": "bob"}, {"id": 2, "customer": "ann"})
        assert view.head().seq == 1
        assert view.entity("Order", "2").exists is False
        assert [edge.to_key for edge in view.neighbours("Customer", "ann").edges] == ["1"]
        assert list(view.frame("shop.orders")["customer"]) == ["ann"]
        assert len(view.changes().changes) == 1
        with pytest.raises(UnavailableError, match="at commit 1 after 0 s"):
            view.record("shop.orders", "1", min_seq=2)
    assert store.entity("Order", "2").exists


def test_history_tells_reigns_late_versions_and_runs(shop: Shop) -> None:
    store = shop.store
    shop.orders({"id": 1, "customer": "ann", "_token": 10})
    shop.orders({"id": 1, "customer": "bob", "_token": 30})
    shop.orders({"id": 1, "customer": "late", "_token": 20})
    shop.orders({"id": 1, "customer": "ann", "_token": 40})
    shop.orders({"id": 1, "customer": "ann", "gone": True, "_token": 50})
    found = store.history("shop.orders", "1")
    told = [(v.row["customer"], v.since, v.until, v.deleted) for v in found.versions]
    assert told == [
        ("ann", 1, 2, False), ("bob", 2, 4, False), ("late", 3, 3, False),
        ("ann", 4, 5, False), ("ann", 5, None, True),
    ]  # fmt: skip
    assert all(version.run_id and version.committed_at for version in found.versions)
    assert store.history("shop.orders", "2").versions == ()
    json.dumps(found.to_json(), allow_nan=False)


def test_what_reigned_at_a_commit_is_not_changed_by_what_was_read_late(shop: Shop) -> None:
    for name, token in (("ann", 1), ("bob", 2), ("cem", 10), ("ann", 5)):
        shop.orders({"id": 1, "customer": name, "_token": token})
    for valid in (None, START + timedelta(days=1)):
        told = [
            shop.store.record("shop.orders", "1", as_of_seq=seq, valid=valid).version
            for seq in (1, 2, 3, 4)
        ]
        names = [version.row["customer"] for version in told if version is not None]
        assert names == ["ann", "bob", "cem", "cem"]


def test_below_the_horizon_the_store_refuses(shop: Shop) -> None:
    store = shop.store
    for name in ("ann", "bob", "cem"):
        shop.orders({"id": 1, "customer": name})
    with store._writing() as connection:
        connection.execute(sa.text("DELETE FROM shop__orders__history WHERE _seq_to <= 2"))
        connection.execute(sa.text("UPDATE tidegate_head SET horizon = 2"))
    for ask in (
        lambda: store.record("shop.orders", "1", as_of_seq=1),
        lambda: store.entity("Order", "1", as_of_seq=0),
        lambda: store.frame("shop.orders", as_of_seq=1),
        lambda: store.neighbours("Order", "1", as_of_seq=1),
        lambda: store.changes(since=1),
        lambda: store.diff(1, 3, "shop.orders"),
        lambda: store.subscribe("mirror", since=1),
        lambda: store.record("shop.orders", "1", valid=START),
    ):
        with pytest.raises(TrimmedError, match="trimmed"):
            ask()
    told = store.record("shop.orders", "1", as_of_seq=2).version
    assert told is not None and told.row["customer"] == "bob"
    assert [change.seq for change in store.changes(since=2).changes] == [3]
    later = datetime.now(UTC) + timedelta(days=1)
    assert store.record("shop.orders", "1", valid=later).version is not None
    assert store.head().horizon == 2


def test_unknown_words_are_named_with_what_they_may_have_meant(shop: Shop) -> None:
    store = shop.store
    shop.orders({"id": 1, "customer": "ann"})
    for ask, wanted in (
        (lambda: store.record("shop.order", "1"), "Did you mean 'shop.orders'"),
        (lambda: store.history("x", "1"), "There are: shop.orders"),
        (lambda: store.frame("shop.ordres"), "'shop.ordres' is not a stream"),
        (lambda: store.entity("Custommer", "ann"), "Did you mean 'Customer'"),
        (lambda: store.neighbours("Customer", "ann", relation="PLACD"), "Did you mean 'PLACED'"),
        (lambda: store.neighbours("Customer", "ann", direction="up"), "in, out, both"),
        (lambda: store.neighbours("Customer", "ann", depth=0), "1 or more"),
        (lambda: store.why("Customer", "ann", "citty"), "Did you mean 'city'"),
        (lambda: store.find("Customer", "citty", 1), "Did you mean 'city'"),
        (lambda: store.find("Order", "total", "much"), "no value of 'total'"),
        (lambda: store.changes(since="??"), "not a cursor"),
        (lambda: store.changes(since=9), "the store is at commit 1, the cursor at 9"),
        (lambda: store.changes(limit=0), "one change or more"),
        (lambda: store.diff(1, 0, "shop.orders"), "the earlier first"),
        (lambda: store.diff(0, 1, "shop.orders", limit=0), "limit: 0 is too small"),
        (lambda: store.acknowledge("mirror", 1), "not a subscription"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=wanted.replace("?", r"\?")):
            ask()


def test_nothing_is_known_before_the_first_load(store: Store) -> None:
    assert (store.head().seq, store.head().committed_at) == (0, None)
    assert store.changes().changes == ()
    with pytest.raises(ConfigError, match="There are: none"):
        store.entity("Customer", "ann")
    store.issue_read("shop.orders")
    assert store.record("shop.orders", "1").version is None
    assert store.history("shop.orders", "1").versions == ()
    assert len(store.frame("shop.orders")) == 0


def test_why_names_the_record_the_run_and_since_when(shop: Shop) -> None:
    store = shop.store
    shop.people({"name": "ann", "city": "Oslo", "rank": 1})
    shop.people({"name": "ann", "city": "Oslo", "rank": 2})
    shop.orders({"id": 7, "customer": "ann", "city": "Rome"})
    shop.people({"name": "ann", "city": "Bonn", "rank": 2})
    shop.people({"name": "ann", "city": "Oslo", "rank": 2, "at": START + timedelta(days=1)})
    shop.people({"name": "ann", "city": "Oslo", "rank": 3, "at": START + timedelta(days=1)})
    runs = {run["seq"]: run["run_id"] for run in store.runs()}

    winner, loser = store.why("Customer", "ann", "city").tellings
    assert (winner.value, winner.wins, winner.stream, winner.record) == (
        "Oslo", True, "crm.people", "ann",
    )  # fmt: skip
    assert (winner.since, winner.run_id, winner.trust) == (5, runs[5], 80)
    assert winner.valid == (START + timedelta(days=1)).replace(tzinfo=UTC)
    assert (loser.value, loser.wins, loser.record, loser.since) == ("Rome", False, "7", 3)
    (rank,) = store.why("Customer", "ann", "rank").tellings
    assert (rank.value, rank.since) == (3, 6)
    (before,) = store.why("Customer", "ann", "city", as_of_seq=2).tellings
    assert (before.value, before.since) == ("Oslo", 1)
    names = [telling.attribute for telling in store.why("Customer", "ann").tellings]
    assert set(names) == {"city", "rank", "last"}
    assert store.why("Customer", "bob").tellings == ()


def test_a_value_holds_since_it_was_last_said_of_this_entity_without_a_break(shop: Shop) -> None:
    store = shop.store
    for row in (
        {"customer": "ann", "city": "Rome"}, {"customer": "ann", "city": "Rome", "gone": True},
        {"customer": "ann", "city": "Rome"}, {"customer": "ann", "city": "Rome", "total": 1},
    ):  # fmt: skip
        shop.orders({"id": 1, **row})
    (told,) = store.why("Customer", "ann", "city").tellings
    assert told.since == 3, "it was deleted at 2"
    shop.orders({"id": 1, "customer": "bob", "city": "Rome"})
    (told,) = store.why("Customer", "bob", "city").tellings
    assert told.since == 5, "it was ann's before"


def test_conflicts_list_all_that_is_told_winners_first(shop: Shop) -> None:
    store = shop.store
    shop.people({"name": "ann", "city": "Oslo"}, {"name": "bob", "city": "Rome"})
    assert store.conflicts().conflicts == ()
    shop.orders({"id": 1, "customer": "ann", "city": "Rome"},
                {"id": 2, "customer": "bob", "city": "Rome"})  # fmt: skip
    found = store.conflicts()
    assert [(c.kind, c.type, c.key, c.name) for c in found.conflicts] == [
        ("attribute", "Customer", "ann", "city"), ("relation", "Customer", "ann", "LIVES_IN"),
    ]  # fmt: skip
    for conflict in found.conflicts:
        assert [(t.value, t.wins, t.stream) for t in conflict.tellings] == [
            ("Oslo", True, "crm.people"), ("Rome", False, "shop.orders"),
        ]  # fmt: skip
    assert found.complete
    assert len(store.conflicts(limit=1).conflicts) == 1
    assert not store.conflicts(limit=1).complete
    (edge,) = store.neighbours("Customer", "ann", relation="LIVES_IN").edges
    assert edge.to_key == "Oslo"


def test_entities_are_found_by_the_value_they_show(shop: Shop) -> None:
    store = shop.store
    shop.people({"name": "ann", "city": "Oslo"}, {"name": "bob", "city": "Rome", "rank": 2})
    shop.orders({"id": 1, "customer": "ann", "city": "Rome", "total": Decimal("1.10")},
                {"id": 2, "customer": "bob", "total": Decimal("2.00")},
                {"id": 3, "customer": "bob", "total": Decimal("1.10")})  # fmt: skip

    def keys(type: str, name: str, value: Any) -> list[str]:
        return [entity.key for entity in store.find(type, name, value).entities]

    assert keys("Customer", "city", "Rome") == ["bob"], "ann's Rome is outvoted"
    assert keys("Customer", "city", "Oslo") == ["ann"]
    assert keys("Customer", "rank", 2) == keys("Customer", "rank", "2") == ["bob"]
    assert keys("Order", "total", Decimal("1.1")) == keys("Order", "total", "1.10") == ["1", "3"]
    assert keys("Customer", "totals", Decimal("1.10")) == ["ann", "bob"]
    assert store.entity("Customer", "bob").attributes["totals"] == [Decimal("1.10"), Decimal(2)]
    assert keys("Customer", "last", START) == ["ann", "bob"]
    assert keys("Customer", "city", "Paris") == []
    assert not store.find("Order", "total", "1.10", limit=1).complete


@pytest.mark.parametrize("searchable", [True, False])
def test_entities_of_every_type_of_value_are_found_and_typed(
    searchable: bool, store: Store, tmp_path: Path
) -> None:
    names = [name for name in EVERY_TYPE if name != "id"]
    means = {"load": {"entities": [{"type": "Thing", "key": "id", "attributes": names}],
                      "relations": [{"type": "IS", "from": "Thing", "qualifiers": names,
                                     "to": {"type": "Class", "key": "words"}}]}}  # fmt: skip
    row: dict[str, Any] = {
        "id": 1, "yes": True, "small": -5, "middle": 7, "big": 2**53 + 1,
        "exact": Decimal("-0.000000001"), "huge": Decimal("9" * 51 + ".000000001"),
        "free": "0.00000000000000000001", "ratio": 1 / 3, "words": "it's :x %s",
        "octets": b"\0\xff", "day": golden.DAYS[1], "clock": golden.TIMES[1],
        "moment": golden.MOMENTS[0], "instant": golden.INSTANTS[0], "document": '{"a": [1.10]}',
        'odd: "%s" :x': "odd",
    }  # fmt: skip
    other = dict.fromkeys(row) | {"id": 2, "words": "", "ratio": math.nan}
    words = {"types": {"Thing": {"attributes": {
        name: {"searchable": searchable and '"' not in name} for name in names
    }}}}  # fmt: skip
    told = Vocabulary.model_validate(words)
    Delivery(store, tmp_path, "lab.things", EVERY_TYPE, means, words=told).load([row, other])
    typed = {**row, "free": Decimal(row["free"])}
    typed.pop("id")
    assert dict(store.entity("Thing", "1").attributes) == typed
    for valid in (None, datetime(2100, 1, 1)):
        (edge,) = store.neighbours("Thing", "1", valid=valid).edges
        assert dict(edge.qualifiers) == typed
        assert {type(cell) for cell in edge.qualifiers.values()} == {*map(type, typed.values())}
    for name in names:
        assert [one.key for one in store.find("Thing", name, typed[name]).entities] == ["1"], name
    json.dumps(store.entity("Thing", "2").to_json(), allow_nan=False)


def test_a_walk_stops_at_its_limit_and_says_so(shop: Shop) -> None:
    store = shop.store
    seq = shop.orders(*({"id": number, "customer": "ann"} for number in range(30)))
    shop.people({"name": "ann", "boss": "bob", "city": "Oslo"})
    every = store.neighbours("Customer", "ann", depth=2, limit=100)
    assert every.complete and len(every.edges) == 32
    points: list[dict[str, Any]] = [{}, {"as_of_seq": seq + 1, "valid": datetime(2100, 1, 1)}]
    for at in points:
        for limit in (1, 7, 31):
            some = store.neighbours("Customer", "ann", depth=2, limit=limit, **at)
            assert some.edges == every.edges[:limit]
            assert not some.complete
    assert store.neighbours("Customer", "ann", limit=32).complete
    far = store.neighbours("City", "Oslo", depth=3, limit=33)
    assert [edge.depth for edge in far.edges] == [1, *[2] * 31]
    assert far.entities[0] == ("Customer", "ann")
    assert ("Customer", "bob") in far.entities


def test_a_frame_is_typed_and_holds_live_records_only(shop: Shop) -> None:
    shop.orders({"id": 1, "customer": "ann", "total": Decimal("1.10")},
                {"id": 2, "customer": "bob", "gone": True}, {"id": 3})  # fmt: skip
    frame = shop.store.frame("shop.orders")
    assert list(frame.index) == ["1", "3"]
    assert list(frame.columns) == list(SHOP["shop.orders"])
    assert {str(kind) for kind in frame.dtypes} == {
        "int64[pyarrow]", "string[pyarrow]", "decimal128(12, 2)[pyarrow]", "bool[pyarrow]",
        "timestamp[us][pyarrow]", "string",
    } - ({"string"} if "string" not in {str(kind) for kind in frame.dtypes} else set())  # fmt: skip
    assert frame["total"].iloc[0] == Decimal("1.10")


def test_the_package_names_its_api_and_imports_it_late() -> None:
    assert {getattr(package, name) for name in package.__all__}
    program = (
        "import sys, tidegate.store\n"
        "print([m for m in ('sqlalchemy', 'pyarrow', 'pandas') if m in sys.modules])"
    )
    include = str(Path(__file__).parents[2] / "include")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env={"PYTHONPATH": include})  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018

"""Two streams that contradict each other: who wins, and how the losers are marked."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from store.deliveries import Delivery
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store.store import Store

TYPES = {"id": "int64", "since": "datetime", "city": "string", "age": "int64", "boss": "string"}
WORDS = Vocabulary.model_validate(
    {"relations": {"WORKS_FOR": {"from": "Person", "to": "Person", "single": True}}}
)


def desk(store: Store, folder: Path, name: str, trust: int) -> Delivery:
    load = {
        "entities": [{"type": "Person", "key": "id", "attributes": ["city", "age"]}],
        "relations": [
            {"type": "WORKS_FOR", "from": "Person", "to": {"type": "Person", "key": "boss"}}
        ],
    }
    stream = {"trust": trust, "valid_from": "since", "load": load}
    return Delivery(store, folder, name, TYPES, stream, words=WORDS)


def told(day: int | None, city: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": 1, "since": day and dt.datetime(2026, 1, day), "city": city, **more}


def lost(store: Store) -> dict[str, Any]:
    """Stream → what its telling of person 1 was outvoted by; relations by their target."""
    with store._reading() as connection:
        found = connection.exec_driver_sql(
            "SELECT r.stream, CAST(e.outvoted AS TEXT) FROM entity AS e JOIN tidegate_rule AS r "
            "ON r.id = e.rule WHERE e.key = '1' AND e.outvoted IS NOT NULL"
        ).all()
        targets = connection.exec_driver_sql(
            "SELECT to_key FROM relation WHERE outvoted ORDER BY 1"
        ).scalars()
        return {stream: json.loads(text) for stream, text in found} | {"to": list(targets)}


@pytest.fixture
def crm(store: Store, tmp_path: Path) -> Delivery:
    return desk(store, tmp_path, "crm.people", 90)


@pytest.fixture
def web(store: Store, tmp_path: Path) -> Delivery:
    return desk(store, tmp_path, "web.users", 50)


def test_the_larger_trust_wins_whoever_comes_first(
    store: Store, crm: Delivery, web: Delivery
) -> None:
    web.load([told(9, "Ulm", age=3, boss="7")])
    assert lost(store) == {"to": []}
    crm.load([told(1, "Bonn", age=3, boss="8")])
    assert lost(store) == {"web.users": {"city": "Bonn"}, "to": ["7"]}


def test_a_loser_is_one_no_longer_when_the_winner_changes_or_goes(
    store: Store, crm: Delivery, web: Delivery
) -> None:
    web.load([told(1, "Ulm", boss="7")])
    crm.load([told(1, "Bonn", boss="8")])
    assert lost(store) == {"web.users": {"city": "Bonn"}, "to": ["7"]}
    crm.load([told(2, "Ulm", boss="7")])
    assert lost(store) == {"to": []}
    crm.load([told(3, "Hof")])
    assert lost(store) == {"web.users": {"city": "Hof"}, "to": []}
    crm.load([told(4)])
    assert lost(store) == {"to": []}, "NULL says nothing"


def test_with_equal_trust_the_later_one_wins_and_no_date_comes_last(
    store: Store, tmp_path: Path, web: Delivery
) -> None:
    app = desk(store, tmp_path, "app.users", 50)
    web.load([told(5, "Ulm")])
    app.load([told(4, "Bonn")])
    assert lost(store) == {"app.users": {"city": "Ulm"}, "to": []}
    app.load([told(6, "Bonn")])
    assert lost(store) == {"web.users": {"city": "Bonn"}, "to": []}
    app.load([told(None, "Bonn")])
    assert lost(store) == {"app.users": {"city": "Ulm"}, "to": []}
    web.load([told(None, "Ulm")])
    assert lost(store) == {"web.users": {"city": "Bonn"}, "to": []}, "the first by name"


def test_records_of_one_stream_may_contradict_each_other_about_a_single_target(
    store: Store, tmp_path: Path
) -> None:
    load = {"relations": [{"type": "WORKS_FOR", "from": {"type": "Person", "key": "city"},
                           "to": {"type": "Person", "key": "boss"}}]}  # fmt: skip
    jobs = Delivery(
        store, tmp_path, "hr.jobs", TYPES, {"valid_from": "since", "load": load}, words=WORDS
    )
    rows = [{**told(day, "p"), "id": day, "boss": boss} for day, boss in ((1, "a"), (3, "b"))]
    jobs.load(rows)
    assert lost(store) == {"to": ["a"]}
    jobs.load([{**told(2, "p"), "id": 3, "boss": "a"}])
    assert lost(store) == {"to": []}


@pytest.mark.parametrize(("kind", "cell"), [("bytes", b"\x07"), ("bool", True), ("float64", 0.5)])
def test_no_value_contradicts_nothing_whatever_its_type(
    store: Store, tmp_path: Path, kind: str, cell: Any
) -> None:
    load = {"entities": [{"type": "Person", "key": "id", "attributes": ["face"]}]}
    types = {"id": "int64", "face": kind}
    crm, web = (
        Delivery(store, tmp_path, name, types, {"trust": trust, "load": load})
        for name, trust in (("crm.people", 90), ("web.users", 50))
    )
    crm.load([{"id": 1, "face": None}])
    web.load([{"id": 1, "face": cell}])
    assert lost(store) == {"to": []}
    assert store.conflicts().conflicts == ()

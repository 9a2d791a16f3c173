"""What is special to collections: sorts of values that never meet, and documents kept exactly."""

from __future__ import annotations

import gzip
import json
import os
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import bson
import pyarrow as pa
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    json_util,
)
from bson.decimal128 import create_decimal128_context
from bson.json_util import CANONICAL_JSON_OPTIONS
from bson.raw_bson import RawBSONDocument
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymongo.database import Database

import retail
from services import mongodb
from sources.contract.world import Reading
from tidegate import path
from tidegate.connections import Endpoint, parse
from tidegate.errors import ConfigError, DataError, RefusedError, UnavailableError
from tidegate.job import Job
from tidegate.model import Mode, Report, Request, Watermark, Window
from tidegate.pipeline import blank
from tidegate.pipeline.models import Source
from tidegate.pipeline.reader import read_file
from tidegate.sources import Apart, open_source
from tidegate.sources.mongodb import KIND
from tidegate.sources.mongodb.bound import open_write
from tidegate.sources.mongodb.columns import plain, word
from tidegate.sources.mongodb.documents import OPTIONS, Documents, spell
from tidegate.sources.mongodb.options import MongoStream
from tidegate.sources.mongodb.session import WRITING, arguments
from tidegate.sources.rows import cells
from tidegate.sources.rows.fitting import Spec
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Records, reach
from tidegate.store import open_store
from tidegate.types import Column, ColumnType
from tidegate.verify import verify

pytestmark = pytest.mark.service
TRIALS = int(os.environ.get("TIDEGATE_MONGODB_TRIALS") or 2)
OLD = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = {"id": {"type": "string", "path": "_id"}, "at": "timestamp", "all": "$"}
ODD: list[Any] = [
    None, "2026-01-01T00:00:00Z", 1_767_225_600_000, 1.5, float("nan"), Decimal128("7"), True,
    ObjectId("5ca4bbcea2dd94ee58162a68"), Timestamp(1_767_225_600, 1), {"date": OLD}, [], ["text"],
    [OLD + timedelta(days=400)], Binary(b"\1", 0), Regex("^a"), MinKey(), MaxKey(), Code("f()"),
]  # fmt: skip
"""Everything that a cursor should not be."""
NASTY: dict[str, Any] = {
    "int": 7, "long": Int64(7), "double": 7.0, "big": Int64(2**63 - 1), "small": Int64(-(2**63)),
    "nan": float("nan"), "minus": -0.0, "infinite": float("-inf"), "tiny": 5e-324,
    "decimal": Decimal128("1.10"), "exponent": Decimal128("1E+6144"), "dnan": Decimal128("NaN"),
    "id": ObjectId("5ca4bbcea2dd94ee58162a68"), "null": None, "true": True,
    "before": datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
    "first": DatetimeMS(-(2**63)), "far": DatetimeMS(2**62), "stamp": Timestamp(2**32 - 1, 1),
    "octets": b"\0\xff", "old": Binary(b"\2", 2), "uuid": Binary(b"u" * 16, 4),
    "own": Binary(b"mine", 0x80), "regex": Regex("^a/b$", "im"), "code": Code("f()"),
    "scoped": Code("f()", {"x": 1}), "min": MinKey(), "max": MaxKey(),
    "text": "\u00e9\U0001f469\u200d\U0001f680 \0 \"'\\\n\u2028", "": "no name", "a.b": {"$c": 1},
    "nested": [[], {}, [None, [Int64(1), {"deep": [1.0, 1]}]]], "z": 1, "a": 2,
}  # fmt: skip


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A database of its own."""
    made = mongodb.server().fresh()
    yield made
    with mongodb.client(made) as client:
        client.drop_database(made.database or "")


@pytest.fixture
def there(endpoint: Endpoint) -> Iterator[Database[dict[str, Any]]]:
    """It, to write into; the collection ``things`` has its index."""
    database = mongodb.database(endpoint)
    database["things"].create_index([("at", 1), ("_id", 1)])
    yield database
    database.client.close()


def stream(**more: Any) -> MongoStream:
    columns = {"id": {"type": "json", "path": "_id"}, "at": "timestamp"}
    given = {"collection": "things", "primary_key": "id", "cursor": "at", "columns": columns}
    return MongoStream.model_validate({**given, "bound": "lookback", **more})


def keys(found: list[dict[str, Any]]) -> list[str]:
    return sorted(row["_key"] for row in found)


# Sorts of values --------------------------------------------------------------------------------


@pytest.mark.parametrize("page_rows", [2, 1000])
def test_documents_whose_cursor_is_of_another_type_are_read_by_every_run(
    endpoint: Endpoint, there: Database[dict[str, Any]], page_rows: int
) -> None:
    documents = [{"_id": place, "at": value} for place, value in enumerate(ODD)]
    there["things"].insert_many([*documents, {"_id": 98}, {"_id": 99, "at": OLD}])
    reading = Reading(endpoint, stream(page_rows=page_rows))
    odd = [str(document["_id"]) for document in documents]
    assert keys(reading.rows()) == sorted([*odd, "98", "99"])
    there["things"].insert_one({"_id": 100, "at": datetime.now(UTC)})
    for _ in range(2):
        again = keys(reading.rows())
        assert again == sorted([*odd, "98", "100"])


def test_the_census_counts_them_by_kind(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    values = [*ODD, OLD, datetime.now(UTC) + timedelta(days=1)]
    there["things"].insert_many([{"_id": place, "at": at} for place, at in enumerate(values)])
    there["things"].insert_one({"_id": "without"})
    for low in (None, Watermark("2025-01-01T00:00:00.000000+00:00", "at")):
        with open_source(endpoint, stream(), "shop.things") as source:
            source.observe(Apart())
            list(source.pull(1, low, None))
            census = source.census()
        assert census.pop("future") == 1
        assert sum(census.values()) == len(ODD) + 1
        assert (census["null"], census["missing"], census["string"], census["number"]) == (
            1, 1, 1, 3,
        )  # fmt: skip
        assert (census["array"], census["NaN"]) == (3, 1)


def test_numbers_of_all_widths_are_one_sort_and_nan_is_none_of_them(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    numbers = [1, Int64(2**40), 2.0**41, Decimal128("2199023255553"), Decimal128("NaN")]
    there["things"].insert_many([{"_id": n, "at": value} for n, value in enumerate(numbers)])
    said = {"columns": {"id": {"type": "int64", "path": "_id"}, "at": "int64"}, "lookback": 10}
    reading = Reading(endpoint, stream(**said))
    assert keys(reading.rows()) == ["0", "1", "2", "3", "4"]
    assert reading.watermark == Watermark(2199023255543, "at")
    assert keys(reading.rows()) == ["2", "3", "4"]


def test_all_of_a_collection_is_read_whatever_its_ids_are(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    ids: list[Any] = [
        1, Int64(2**60), 2.5, float("nan"), float("-inf"), Decimal128("3.5"), "a", "b", "1",
        "5ca4bbcea2dd94ee58162a68", ObjectId("5ca4bbcea2dd94ee58162a68"), {"a": 1}, {"a": "1"}, OLD,
        True, False, None, Timestamp(1, 1), Binary(b"x", 0), Binary(b"x" * 16, 4), Code("f()"),
        MinKey(), MaxKey(),
    ]  # fmt: skip
    there["things"].insert_many([{"_id": id, "at": OLD} for id in ids])
    for page_rows in (1, 2, 1000):
        found = Reading(endpoint, stream(page_rows=page_rows)).rows()
        named = [row["_key"] for row in found if row["_key"] is not None]
        assert len(found) == len(ids)
        assert len(set(named)) == len(ids) - 1
    ties = Reading(endpoint, stream(page_rows=2))
    ties.watermark = Watermark("2020-01-01T00:00:00.000000+00:00", "at")
    assert len(ties.rows()) == len(ids)


@pytest.mark.parametrize("page_rows", [1, 1000])
def test_ids_of_several_types_are_held_where_their_texts_would_be_equal(
    endpoint: Endpoint, there: Database[dict[str, Any]], page_rows: int
) -> None:
    id = "5ca4bbcea2dd94ee58162a68"
    for each in (ObjectId(id), id, 5, "5", "plain", Binary(b"u" * 16, 4)):
        there["things"].insert_one({"_id": each, "at": OLD})
    text = stream(columns={"id": {"type": "string", "path": "_id"}, "at": "timestamp"})
    found = Reading(endpoint, text.model_copy(update={"page_rows": page_rows})).rows()
    held = sorted(row["_key"] for row in found if row["_held"])
    assert held == ["'5'", f"'{id}'"]
    assert all("json" in row["_held"] for row in found if row["_held"])
    free = [row["_key"] for row in found if not row["_held"]]
    assert len(free) == len(set(free)) == 4


def test_documents_without_a_cursor_are_held_or_stop_the_run_when_asked_to(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    there["things"].insert_many([{"_id": 1, "at": OLD}, {"_id": 2}, {"_id": 3, "at": "text"}])
    found = Reading(endpoint, stream(null_cursor="quarantine")).rows()
    assert {row["_key"] for row in found if row["_held"]} == {"2", "3"}
    assert "the cursor 'at' is missing" in next(r["_held"] for r in found if r["_key"] == "2")
    reading = Reading(endpoint, stream(null_cursor="fail"))
    with pytest.raises(DataError, match="2 documents have no date in the cursor 'at'"):
        reading.rows()
    there["things"].delete_many({"_id": {"$ne": 1}})
    assert keys(reading.rows()) == ["1"]
    there["things"].insert_one({"_id": 4})
    with pytest.raises(DataError, match="1 documents"):
        reading.rows()


def test_a_cursor_may_lie_inside_the_document(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    there["things"].create_index("meta.at")
    columns = {
        "id": {"type": "json", "path": "_id"}, "at": {"type": "timestamp", "path": "meta.at"},
    }  # fmt: skip
    there["things"].insert_many(
        [{"_id": 1, "meta": {"at": OLD}}, {"_id": 2, "meta": [{"at": OLD}]}, {"_id": 3, "meta": 1}]
    )
    reading = Reading(endpoint, stream(columns=columns))
    assert keys(reading.rows()) == ["1", "2", "3"]
    there["things"].insert_one({"_id": 4, "meta": {"at": datetime.now(UTC)}})
    assert keys(reading.rows()) == ["3", "4"]


def test_documents_that_never_change_are_read_by_their_object_ids(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    before = ObjectId.from_datetime(datetime.now(UTC) - timedelta(hours=1))
    there["things"].insert_many([{"_id": before}, {"_id": "other"}])
    columns = {"id": {"type": "json", "path": "_id"}}
    reading = Reading(endpoint, stream(cursor="_id", columns=columns))
    assert len(reading.rows()) == 2
    new = there["things"].insert_one({}).inserted_id
    assert keys(reading.rows()) == sorted(['"other"', f'{{"$oid": "{new}"}}'])
    history = Window.between(datetime.now(UTC) - timedelta(hours=2), before.generation_time)
    assert reading.rows(history) == []
    after = before.generation_time + timedelta(seconds=1)
    assert len(reading.rows(Window.between(before.generation_time, after))) == 1


# Documents ---------------------------------------------------------------------------------------


def test_every_type_of_value_is_kept_exactly(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    there["things"].insert_one({"_id": 1, "at": OLD, **NASTY})
    columns = {
        "id": {"type": "int64", "path": "_id"}, "at": "timestamp",
        "doc": {"type": "json", "path": "$"}, "decimal": "decimal(9,2)", "big": "int64",
        "before": "timestamp", "uuid": "string", "octets": "bytes", "nested": "json",
        "null": "string", "gone": "string", "far": "timestamp", "dotted": {"type": "json", "path":
        ["a.b"]}, "deep": {"type": "float64", "path": "nested.2.1.1.deep.0"},
    }  # fmt: skip
    (row,) = Reading(endpoint, stream(columns=columns)).rows()
    wanted = json_util.dumps({"_id": 1, "at": OLD, **NASTY}, json_options=CANONICAL_JSON_OPTIONS)
    assert _json(row["doc"]) == _json(wanted)
    assert (row["decimal"], row["big"], row["deep"]) == (Decimal("1.10"), 2**63 - 1, 1.0)
    assert row["before"] == NASTY["before"]
    assert (row["uuid"], row["octets"]) == ("75" * 4 + "-7575" * 3 + "-" + "75" * 6, b"\0\xff")
    assert row["nested"] == '[[], {}, [null, [1, {"deep": [1.0, 1]}]]]'
    assert (row["null"], row["gone"], row["dotted"]) == (None, None, '{"$c": 1}')
    assert row["far"] is None
    assert "out of range" in row["_held"]
    assert row["_held"].count('"rule"') == 1


def _json(text: str) -> Any:
    """Members in their order."""
    return json.loads(text, object_pairs_hook=lambda pairs: pairs)


def test_missing_and_null_differ_in_the_whole_document(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    there["things"].insert_many([{"_id": 1, "at": OLD}, {"_id": 2, "at": OLD, "x": None}])
    columns = {
        "id": {"type": "int64", "path": "_id"}, "at": "timestamp", "x": "string",
        "doc": {"type": "json", "path": "$"},
    }  # fmt: skip
    one, two = Reading(endpoint, stream(columns=columns)).rows()
    assert one["x"] is two["x"] is None
    assert '"x"' not in one["doc"]
    assert '"x": null' in two["doc"]
    assert one["_source_hash"] != two["_source_hash"]


@pytest.mark.parametrize("rule", ["not UTF-8", "not exact"])
def test_documents_that_json_cannot_tell_are_held(rule: str) -> None:
    """By the octets: the driver writes no such document."""
    at = {"_id": "k", "at": OLD}
    octets = {
        "not UTF-8": bson.encode({**at, "text": "abcd"}).replace(b"abcd", b"ab\xff\xfe"),
        "not exact": bson.encode({**at, "a": 1, "b": 2}).replace(b"\x10b\0", b"\x10a\0"),
    }[rule]
    good = bson.encode({**at, "_id": "good", "text": "abcd"})
    columns = {
        "id": {"type": "string", "path": "_id"}, "at": "timestamp",
        "doc": {"type": "json", "path": "$"},
    }  # fmt: skip
    of = stream(columns=columns)
    documents = Documents(of)
    records = [documents.record(each) for each in (octets, good)]
    page = Records(of, spell=spell, plain=plain).build(records, Tokens(1, "x"))
    held = dict(zip(page["_key"].to_pylist(), page["_held"].to_pylist(), strict=True))
    assert held["good"] is None
    assert rule in held["k"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("items.*.sku", ["a", "b"]), ("tiers.*", [{"x": 1}, {"x": 2}]), ("tiers.*.x", [1, 2]),
        ("items.*", [{"sku": "a"}, {}, {"sku": "b"}]), ("sku.*", None), ("odd.*", 7),
        ("tiers.*.*", [[1], [2]]), ("none.*", []),
    ],
)  # fmt: skip
def test_a_star_leads_to_every_member(path: str, found: Any) -> None:
    value = {
        "items": [{"sku": "a"}, {}, {"sku": "b"}], "tiers": {"p": {"x": 1}, "q": {"x": 2}},
        "sku": "text", "odd": {"*": 7, "y": 8}, "none": {},
    }  # fmt: skip
    assert reach(value, path.split(".")) == found


_DECIMALS = st.one_of(
    st.decimals(-(10**20), 10**20, places=3),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.integers(-(10**34) + 1, 10**34 - 1).map(Decimal),
    st.sampled_from([Decimal("1E+3"), Decimal("-0.00"), Decimal("1.500"), Decimal("1E-6000")]),
).map(lambda number: Decimal128(create_decimal128_context().create_decimal(number)))
_ODD = st.binary(min_size=16, max_size=16).map(Decimal128.from_bid)
_DATES = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-(10**15), 10**15), st.integers(0, 10**12)
).map(DatetimeMS)


@example([Decimal128("5.19E+4353")], "int64")  # Python writes out no int of that size
@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.none() | _DECIMALS, max_size=5)
    | st.lists(st.none() | _DECIMALS | _ODD, max_size=3)
    | st.lists(st.none() | _DATES, max_size=5)
    | st.lists(st.none() | st.booleans() | st.integers(-9, 9).map(Int64) | _DATES | st.text()),
    st.sampled_from(["decimal(38,9)", "decimal(6,2)", "decimal(60,9)", "timestamp", "int64"]),
)
def test_a_column_is_what_its_values_are(values: list[Any], type: str) -> None:
    spec = Spec(Column("it", ColumnType.parse(type)), True, ZoneInfo("UTC"))
    array, unfit = cells.convert(plain(values, spec), spec)
    wanted, refused = cells._each([word(value) for value in values], spec)
    assert repr(array.to_pylist()) == repr(wanted.to_pylist())
    assert {row: str(why) for row, why in unfit.items()} == {
        row: str(why) for row, why in refused.items()
    }


@pytest.mark.parametrize(
    ("type", "values"),
    [("timestamp", [DatetimeMS(5), None]), ("decimal(9,1)", [Decimal128("-1.5"), Decimal128("7")])],
)
def test_plain_dates_and_decimals_are_read_at_once(type: str, values: list[Any]) -> None:
    spec = Spec(Column("it", ColumnType.parse(type)), True, ZoneInfo("UTC"))
    assert isinstance(plain(values, spec), pa.Array)


def samples() -> Path:
    """The folder of MongoDB's sample documents, or a skip that says what is missing."""
    default = retail.REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("TIDEGATE_TEST_DATA") or default)
    if not (folder / "mongo_customers.json.gz").exists():
        pytest.skip(f"no mongo_*.json.gz in {folder}; set TIDEGATE_TEST_DATA to their folder")
    return folder


SAMPLES = ["accounts", "customers", "mflix_theaters"]
MEANING: dict[str, dict[str, Any]] = {
    "accounts": {
        "columns": {"account": {"type": "int64", "path": "account_id"}, "limit": "int32",
                    "products": "json"},
        "load": {
            "entities": [{"type": "Account", "key": "account", "attributes": ["limit"]}],
            "relations": [{"type": "INCLUDES", "from": "Account", "each": "products",
                           "to": {"type": "Product", "key": "."}}],
        },
    },
    "customers": {
        "columns": {"username": "string", "name": "string", "birthdate": "timestamp",
                    "accounts": "json", "tiers": {"type": "json", "path": "tier_and_details.*"},
                    "details": {"type": "json", "path": "tier_and_details"}},
        "load": {
            "entities": [{"type": "Customer", "key": "id", "name": "{name}",
                          "attributes": ["username", "birthdate", "details"]}],
            "relations": [
                {"type": "OWNS", "from": "Customer", "each": "accounts",
                 "to": {"type": "Account", "key": "."}},
                {"type": "ENJOYS", "from": "Customer", "each": "tiers",
                 "to": {"type": "Tier", "key": "id"}, "qualifiers": ["tier", "active"]},
            ],
        },
    },
    "mflix_theaters": {
        "columns": {"city": {"type": "string", "path": "location.address.city"},
                    "state": {"type": "string", "path": "location.address.state"},
                    "east": {"type": "float64", "path": "location.geo.coordinates.0"},
                    "point": {"type": "json", "path": "location.geo"}},
        "load": {
            "entities": [{"type": "Theater", "key": "id", "attributes": ["city", "east", "point"]}],
            "relations": [{"type": "IN", "from": "Theater",
                           "to": {"type": "State", "key": "state"}}],
        },
    },
}  # fmt: skip


class Shop:
    """Collections on their way into a SQLite store."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.store = Endpoint("tidegate_store", "sqlite", database=str(folder / "store.db"))
        self._known = {"shop": endpoint, "tidegate_store": self.store}
        self._runs = 0

    def job(self, name: str, of: MongoStream) -> Job:
        source = Source(name="shop", connection="shop", streams={name: of})
        return Job(source, name, of, self._known.__getitem__)

    def run(self, name: str, of: MongoStream, mode: Mode = Mode.INCREMENT) -> Report:
        self._runs += 1
        return path.run(self.job(name, of), Request(f"shop.{name}", f"run-{self._runs}", mode))

    def stored(self, name: str, column: str) -> dict[str, Any]:
        """The live rows' values by key, by SQLite's own driver."""
        with closing(sqlite3.connect(str(self.store.database))) as connection:
            query = f"SELECT _key, {column} FROM shop__{name} WHERE NOT _deleted"
            return dict(connection.execute(query).fetchall())


@pytest.fixture
def shop(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    return Shop(endpoint, tmp_path)


def test_the_sample_documents_arrive_exactly_and_their_maps_can_be_asked(
    shop: Shop, there: Database[dict[str, Any]]
) -> None:
    folder = samples()
    told: dict[str, dict[str, dict[str, Any]]] = {}
    for name in SAMPLES:
        with gzip.open(folder / f"mongo_{name}.json.gz", "rt", encoding="utf-8") as file:
            lines = [line for line in file if line.strip()]
        told[name] = {
            str(document["_id"]): document
            for document in (
                json_util.loads(line, json_options=CANONICAL_JSON_OPTIONS) for line in lines
            )
        }
        there[name].insert_many(
            RawBSONDocument(bson.encode(each, codec_options=OPTIONS))
            for each in told[name].values()
        )
        meaning = MEANING[name]
        own = {"id": {"type": "string", "path": "_id"}, "doc": {"type": "json", "path": "$"}}
        of = stream(
            collection=name, cursor="_id", columns={**own, **meaning["columns"]},
            load=meaning["load"],
        )  # fmt: skip
        report = shop.run(name, of)
        assert (report.inserted, report.quarantined) == (len(lines), 0)
    for name, documents in told.items():
        found = shop.stored(name, "doc")
        assert found.keys() == documents.keys()
        for key, document in documents.items():
            wanted = json_util.dumps(document, json_options=CANONICAL_JSON_OPTIONS)
            assert _json(found[key]) == _json(wanted)
    with open_store(shop.store) as store:
        _ask(store, told)


def _ask(store: Any, told: dict[str, dict[str, dict[str, Any]]]) -> None:
    """The answers of the library against the documents themselves."""
    for key, customer in list(told["customers"].items())[::25]:
        found = store.entity("Customer", key)
        assert found.name == customer["name"]
        assert found.attributes["birthdate"] == customer["birthdate"].replace(tzinfo=UTC)
        assert json.loads(found.attributes["details"]) == customer["tier_and_details"]
        edges = store.neighbours("Customer", key, direction="out", limit=1000).edges
        owned = {edge.to_key for edge in edges if edge.type == "OWNS"}
        assert owned == {str(number) for number in customer["accounts"]}
        enjoyed = {edge.to_key: dict(edge.qualifiers) for edge in edges if edge.type == "ENJOYS"}
        assert enjoyed == {
            id: {"tier": one["tier"], "active": one["active"]}
            for id, one in customer["tier_and_details"].items()
        }
    account = next(iter(told["accounts"].values()))
    found = store.entity("Account", str(account["account_id"]))
    assert found.attributes["limit"] == account["limit"]
    key, theater = next(iter(told["mflix_theaters"].items()))
    found = store.entity("Theater", key)
    assert found.attributes["city"] == theater["location"]["address"]["city"]
    assert json.loads(found.attributes["point"]) == theater["location"]["geo"]
    there = store.neighbours("State", theater["location"]["address"]["state"], limit=2000).edges
    states = Counter(one["location"]["address"]["state"] for one in told["mflix_theaters"].values())
    assert len(there) == states[theater["location"]["address"]["state"]]


# Runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", range(TRIALS))
def test_writers_that_stamp_while_runs_read_lose_nothing(
    shop: Shop, there: Database[dict[str, Any]], trial: int
) -> None:
    of = stream(
        columns={"id": {"type": "int64", "path": "_id"}, "at": "timestamp", "n": "int64"},
        page_rows=7, bound="auto", lookback="2s",
    )  # fmt: skip
    stop, things = threading.Event(), there["things"]

    def write(seed: int) -> None:
        dice = random.Random(seed)
        while not stop.wait(0.005):
            stamp: dict[str, Any] = {"$inc": {"n": 1}, "$currentDate": {"at": True}}
            if dice.random() < 0.1:
                stamp = {"$inc": {"n": 1}, "$unset": {"at": 1}}
            things.update_one({"_id": dice.randrange(40)}, stamp, upsert=True)

    writers = [threading.Thread(target=write, args=(trial * 10 + n,)) for n in range(3)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(6):
            shop.run("things", of)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    shop.run("things", of)
    wanted = {str(each["_id"]): each["n"] for each in things.find()}
    assert shop.stored("things", "n") == wanted


def test_a_verification_mends_what_no_cursor_shows_and_finds_what_is_gone(
    shop: Shop, there: Database[dict[str, Any]]
) -> None:
    things = there["things"]
    ids: list[Any] = [1, 2.5, "text", ObjectId(), Binary(b"u" * 16, 4)]
    things.insert_many([{"_id": id, "at": OLD, "n": 1} for id in ids])
    columns = {"id": {"type": "json", "path": "_id"}, "at": "timestamp", "n": "int64"}
    of = stream(columns=columns)
    shop.run("things", of)
    things.update_many({"_id": {"$in": ids[1:4]}}, {"$set": {"n": 2}})
    things.delete_one({"_id": 1})
    verified = verify(shop.job("things", of))
    assert (verified.repaired, verified.tombstoned) == (3, 1)
    assert sorted(shop.stored("things", "n").values()) == [1, 2, 2, 2]


def test_a_stream_by_object_ids_is_verified_too(
    shop: Shop, there: Database[dict[str, Any]]
) -> None:
    things = there["things"]
    ids = things.insert_many([{"n": 1} for _ in range(5)]).inserted_ids
    columns = {"id": {"type": "string", "path": "_id"}, "n": "int64"}
    of = stream(columns=columns, cursor="_id")
    shop.run("things", of)
    things.update_one({"_id": ids[0]}, {"$set": {"n": 2}})
    things.delete_one({"_id": ids[1]})
    verify(shop.job("things", of))
    found = shop.stored("things", "n")
    assert found == {str(each["_id"]): each["n"] for each in things.find()}


@pytest.mark.parametrize("type", ["string", "int64", "json", "numeric"])
def test_documents_are_found_again_by_the_texts_of_their_keys(
    endpoint: Endpoint, there: Database[dict[str, Any]], type: str
) -> None:
    ids: dict[str, list[Any]] = {
        "string": [ObjectId(), "plain", "{odd", Binary(b"u" * 16, 4)],
        "int64": [1, Int64(-(2**63)), 3.0, Decimal128("4")],
        "json": [1, "1", 2.5, ObjectId(), {"a": 1, "b": "x"}, OLD, True, Binary(b"x", 0)],
        "numeric": [1, 2.5, Decimal128("1.50")],
    }
    there["things"].insert_many([{"_id": id, "at": OLD} for id in ids[type]])
    columns = {"id": {"type": type, "path": "_id"}, "at": "timestamp"}
    with open_source(endpoint, stream(columns=columns), "shop.things") as source:
        known = [key for page in source.scan() for key in page["_key"].to_pylist()]
        assert source.count() == len(known) == len(ids[type])
        for key in known:
            pages = list(source.fetch(1, [key, "not there"]))
            assert [row["_key"] for page in pages for row in page.to_pylist()] == [key]
        found = [key for page in source.fetch(1, known) for key in page["_key"].to_pylist()]
    assert sorted(found) == sorted(known)


# The bound ---------------------------------------------------------------------------------------


def test_the_bound_is_the_server_s_clock_minus_margin_and_lookback(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    for bound, said in (("computed", "no write is open"), ("lookback", "clock")):
        with open_source(endpoint, stream(bound=bound, lookback="10s"), "x") as source:
            seen = source.observe(Apart())
        assert said in seen.bound
        assert seen.high is not None
        high = datetime.fromisoformat(str(seen.high.cursor))
        passed = datetime.fromisoformat(seen.observed_at) - high
        assert timedelta(seconds=11) <= passed < timedelta(seconds=12)


def test_a_clock_that_was_set_back_is_read_from_below(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    with open_source(endpoint, stream(), "x") as source:
        memory = source.observe(Apart()).memory
        server = datetime.fromisoformat(memory["clock"][0]) + timedelta(hours=1)
        memory["clock"][0] = server.isoformat()
        seen = source.observe(Apart(), memory)
    assert seen.floor is not None
    back = datetime.fromisoformat(memory["moment"]) - datetime.fromisoformat(str(seen.floor.cursor))
    assert timedelta(minutes=59) < back < timedelta(minutes=61)


def test_only_writes_that_are_open_hold_the_bound(there: Database[dict[str, Any]]) -> None:
    """Entries of ``$currentOp`` as the manual describes them, chosen by the engine."""
    ran = {"active": True, "microsecs_running": 2_500_000, "ns": "shop.orders"}
    opened = {"parameters": {"txnNumber": 1, "autocommit": False}, "timeOpenMicros": 2_500_000}
    inside = {**ran, "microsecs_running": 100, "transaction": opened}
    retryable = {"parameters": {"txnNumber": 7}}
    held = [
        {**ran, "op": "update", "command": {"q": {}, "u": {}}},
        {**ran, "op": "update", "command": {"q": {}, "u": {}}, "transaction": retryable},
        {**ran, "op": "command", "command": {"findAndModify": "orders"}},
        {**ran, "op": "command", "command": {"$truncated": "{ unknown"}},
        {**ran, "op": "command", "command": {"aggregate": "o", "pipeline": [{"$merge": "p"}]}},
        {"type": "idleSession", "active": False, "transaction": opened},
        {**inside, "op": "query", "command": {"find": "orders"}},
        {**inside, "op": "getmore", "command": {"getMore": 1}},
        {**inside, "op": "command", "command": {"aggregate": "o", "pipeline": []}},
        {**inside, "op": "none", "command": {}},
    ]
    free = [
        {**ran, "op": "query", "command": {"find": "orders"}},
        {**ran, "op": "getmore", "command": {"getMore": 1}},
        {**ran, "op": "command", "command": {"hello": 1, "maxAwaitTimeMS": 10_000}},
        {**ran, "op": "command", "command": {"aggregate": "o", "pipeline": [{"$match": {}}]}},
        {**ran, "op": "command", "command": {"createIndexes": "orders"}},
        {**ran, "op": "none"},
        {"type": "idleSession", "active": False},
        {"type": "idleSession", "active": False, "transaction": retryable},
    ]
    there["ops"].insert_many({"_id": n, **each} for n, each in enumerate([*held, *free]))
    found = map(open_write, there["ops"].aggregate([WRITING]))
    assert [one.seconds for one in found if one] == [2.5] * len(held)


def test_a_write_that_is_open_holds_the_bound(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    """One update of many documents, seen while it runs."""
    there["things"].insert_many([{"_id": n, "at": OLD} for n in range(6_000)])
    update = [{"$set": {"at": "$$NOW", "x": {"$range": [0, 200]}}}]
    writer = threading.Thread(target=there["things"].update_many, args=({}, update))
    writer.start()
    seen = []
    with open_source(endpoint, stream(bound="computed", lookback="0s"), "x") as source:
        while writer.is_alive():
            seen.append(source.observe(Apart()))
    writer.join()
    stamp = there["things"].find_one({"_id": 0})["at"]  # type: ignore[index]
    waiting = [each for each in seen if "waits for" in each.bound]
    assert waiting
    for each in waiting:
        assert datetime.fromisoformat(str(each.high and each.high.cursor)) <= stamp


# Mistakes ----------------------------------------------------------------------------------------


def test_a_cursor_without_an_index_is_refused_unless_it_is_allowed(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    there["bare"].create_index("at", partialFilterExpression={"x": 1})
    there["bare"].insert_one({"_id": 1, "at": OLD})
    with pytest.raises(ConfigError, match=r"createIndex\(\{'at': 1, _id: 1\}\)"):
        Reading(endpoint, stream(collection="bare")).rows()
    assert len(Reading(endpoint, stream(collection="bare", unindexed="allow")).rows()) == 1


def test_a_collection_that_is_not_there_is_no_empty_one(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    with pytest.raises(ConfigError, match=r"'thing' is not in the database.*Did you mean 'things'"):
        Reading(endpoint, stream(collection="thing")).rows()
    with pytest.raises(ConfigError, match="names no database"):
        Reading(replace(endpoint, database=None), stream()).rows()


def test_views_are_read_where_they_keep_the_id(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    there["things"].insert_many([{"_id": n, "at": OLD} for n in range(5)])
    there.create_collection("seen", viewOn="things", pipeline=[{"$match": {"_id": {"$gt": 1}}}])
    there.create_collection("bare", viewOn="things", pipeline=[{"$project": {"_id": 0}}])
    reading = Reading(endpoint, stream(collection="seen", page_rows=2))
    assert keys(reading.rows()) == ["2", "3", "4"]
    there["things"].insert_one({"_id": 9, "at": datetime.now(UTC)})
    assert keys(reading.rows()) == ["9"]
    with pytest.raises(ConfigError, match="documents without _id"):
        Reading(endpoint, stream(collection="bare")).rows()


@pytest.mark.parametrize("low", [None, Watermark("2020-01-01T00:00:00.000000+00:00", "at")])
@pytest.mark.parametrize("page_rows", [1, 3, 1000])
def test_a_view_in_which_documents_share_an_id_is_refused(
    endpoint: Endpoint, there: Database[dict[str, Any]], page_rows: int, low: Watermark | None
) -> None:
    lines = {"$unwind": "$lines"}
    own = {"$set": {"_id": {"$mergeObjects": [{"order": "$_id", "line": "$lines"}]}}}
    there["things"].insert_many([{"_id": n, "at": OLD, "lines": [1, 2]} for n in range(3)])
    there.create_collection("lines", viewOn="things", pipeline=[lines])
    there.create_collection("own", viewOn="things", pipeline=[lines, own])
    with pytest.raises(ConfigError, match=r"several documents with the _id 0.*\$set"):
        Reading(endpoint, stream(collection="lines", page_rows=page_rows), watermark=low).rows()
    reading = Reading(endpoint, stream(collection="own", page_rows=page_rows), watermark=low)
    assert len(reading.rows()) == 6


def test_a_query_that_takes_too_long_is_worth_another_try(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    there["things"].insert_many([{"_id": n, "at": OLD, "x": "x"} for n in range(2_000)])
    slow = stream(collection="slow", statement_timeout="0.05s")
    join = {"$lookup": {"from": "things", "localField": "x", "foreignField": "x", "as": "y"}}
    there.create_collection("slow", viewOn="things", pipeline=[join])
    with pytest.raises(UnavailableError, match=r"longer than statement_timeout, 0\.05 s"):
        Reading(endpoint, slow).rows()


def test_the_doctor_says_what_a_cursor_misses(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    there["things"].insert_many([{"_id": 1, "at": OLD}, {"_id": 7, "at": "text"}])
    with open_source(endpoint, stream(), "shop.things") as source:
        (finding,) = source.check()
    assert (finding.level, finding.code) == ("warning", "null-cursor")
    assert "'at' is string, like the one with _id 7" in finding.what


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cursor": "att"}, "Did you mean 'at'?"),
        ({"cursor": "id", "columns": {"id": "string", "_id": "string"}}, "no bound can be put on"),
        ({"columns": {"id": "string", "at": {"type": "timestamp", "path": ["a.b"]}}}, "has a dot"),
        ({"columns": {"id": "string", "at": {"type": "timestamp", "path": "a.*"}}}, "is a star"),
        ({"columns": {"id": {"type": "string", "path": "$file"}, "at": "timestamp"}}, "'$file'"),
        ({"collection": "system.users"}, "not a collection"),
        ({"follow": "changes"}, "follow"),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_file(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        stream(**more)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("more", "window", "message"),
    [
        ({"lookback": 5}, None, "a duration like 1m"),
        ({"bound": "computed", "columns": {"id": "string", "at": "int64"}}, None, "bound: auto"),
        ({"columns": {"id": "string", "at": "int64"}, "lookback": 1}, "day", "backfill.by"),
    ],
)
def test_settings_that_do_not_go_together_are_explained(
    endpoint: Endpoint, there: Database[dict[str, Any]], more: dict[str, Any], window: str | None,
    message: str,
) -> None:  # fmt: skip
    cut = window and Window.between(OLD, OLD + timedelta(days=1))
    with pytest.raises(ConfigError, match=message):
        Reading(endpoint, stream(**more)).rows(cut or None)


def test_a_watermark_of_another_cursor_is_refused(
    endpoint: Endpoint, there: Database[dict[str, Any]]
) -> None:
    reading = Reading(endpoint, stream())
    reading.watermark = Watermark("2026-01-01T00:00:00.000000+00:00", "changed")
    with pytest.raises(ConfigError, match="--full"):
        reading.rows()


# Connections -------------------------------------------------------------------------------------

CONNECTIONS: list[tuple[str, dict[str, Any]]] = [
    ("mongo://u:p%40ss@db/shop", {
        "host": "mongodb://db:27017", "username": "u", "password": "p@ss", "tls": True,
        "authSource": "admin"}),
    ("mongo://localhost/shop", {"host": "mongodb://localhost:27017", "tls": False}),
    ("mongo://db:27018/shop?insecure=true", {"host": "mongodb://db:27018", "tls": False}),
    ("mongo://cluster.example.net/shop?srv=true", {
        "host": "mongodb+srv://cluster.example.net", "tls": True}),
    ('{"conn_type": "mongo", "host": "a,b:27018, c", "extra": {"replicaset": "rs0"}}', {
        "host": "mongodb://a:27017,b:27018,c:27017", "replicaSet": "rs0", "tls": True}),
    ("mongo:///shop?unix_socket=/run/Mongo.sock", {
        "host": "mongodb://%2Frun%2FMongo.sock", "tls": False}),
    ("mongo://localhost/shop?tlsCAFile=/ca.pem", {"tls": True, "tlsCAFile": "/ca.pem"}),
    ("mongo://db/shop?ssl_ca=/ca.pem&authSource=people", {"tlsCAFile": "/ca.pem"}),
    ("mongo://u:p@db/shop?authSource=people", {"authSource": "people"}),
    ("mongo://cn@db/shop?authMechanism=MONGODB-X509", {"authSource": "$external"}),
]  # fmt: skip


@pytest.mark.parametrize(("uri", "wanted"), CONNECTIONS, ids=[uri for uri, _ in CONNECTIONS])
def test_connections_are_read_as_airflow_writes_them(uri: str, wanted: dict[str, Any]) -> None:
    made = arguments(parse("shop", uri), 30)
    assert {name: made.get(name) for name in wanted} == wanted
    assert "p@ss" not in made["host"]
    assert "tlsAllowInvalidCertificates" not in made


def test_a_wrong_user_is_refused_and_no_message_has_the_password(endpoint: Endpoint) -> None:
    wrong = replace(endpoint, user="tide", password="h0rse battery")
    with pytest.raises(RefusedError, match="refused the user 'tide'") as caught:
        Reading(wrong, stream()).rows()
    assert "battery" not in str(caught.value)


def test_a_new_pipeline_file_is_filled_from_the_collections(
    endpoint: Endpoint, there: Database[dict[str, Any]], tmp_path: Path
) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    there["users"].insert_many([
        {"name": "Ada", "age": 36, "address": {"city": "Ulm"}, "updatedAt": now,
         "isDeleted": False},
        {"name": "Bo", "age": 1.5, "updatedAt": now, "isDeleted": True, "a.b": 1},
    ])  # fmt: skip
    there["events"].insert_one({"kind": "login"})
    proposals = list(KIND.discover(endpoint) if KIND.discover else ())
    file = tmp_path / "community.yaml"
    file.write_text(blank.text(KIND, "community", proposals), encoding="utf-8")
    found = read_file(file)
    assert found.broken == {}
    users, events = found.streams["users"], found.streams["events"]
    assert isinstance(users, MongoStream)
    assert isinstance(events, MongoStream)
    assert (users.cursor, events.cursor) == ("updatedAt", "_id")
    assert users.deleted is not None
    assert users.deleted.column == "isDeleted"
    types = {"_id": "string", "name": "string", "age": "json", "address": "json",
             "updatedAt": "timestamp", "isDeleted": "bool"}  # fmt: skip
    assert {name: users.columns[name] for name in types} == types
    assert users.path("a_b") == ("a.b",)

"""The social case on a real MongoDB: what its store says, after a while of untidy traffic."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import bson
import pytest
from bson import CodecOptions, Decimal128, ObjectId, json_util
from pymongo.database import Database

from cases.living import Case
from demo.community import COLLECTIONS, Community
from services import mongodb

pytestmark = [pytest.mark.service, pytest.mark.slow]
YES = {True: 1, False: 0, "yes": 1, "No": 0, None: 0}
KINDS = {"post": "post", "msg": "post", "comment": "comment", "reply": "comment"}
AWARE: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """The network after some 300 happenings, of which 40 were written late."""
    folder = tmp_path_factory.mktemp("social")
    source = replace(mongodb.server().fresh(), name="social")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEGATE_HOME", str(folder / "home"))
        case = Case("social", source, uri(source), folder)
        case.live("community", steps=300, per_second=25)
        yield case


def uri(source: Any) -> str:
    """The connection as Airflow's JSON text."""
    names = {"conn_type": "kind", "host": "host", "port": "port", "schema": "database",
             "login": "user", "password": "password"}  # fmt: skip
    fields = {name: getattr(source, ours) for name, ours in names.items() if getattr(source, ours)}
    return json.dumps({**fields, "extra": dict(source.options)})


def documents(case: Case, collection: str) -> dict[str, dict[str, Any]]:
    """The source's documents that are not marked as deleted, by the text of their ``_id``."""
    with mongodb.client(case.source) as there:
        place = there[str(case.source.database)].get_collection(collection, codec_options=AWARE)
        return {str(each["_id"]): each for each in place.find({}) if not each.get("deleted_at")}


# What a person would say that the documents mean; None: nothing that can be used.


def number(value: Any) -> Decimal | None:
    """Whatever type a program writes it in; missing is 0; None: no number, or less than none."""
    value = value.to_decimal() if isinstance(value, Decimal128) else value
    if value in {"many", -3} or (isinstance(value, float) and math.isnan(value)):
        return None
    return Decimal(str(value or 0))


def tidy(text: str | None) -> str | None:
    return None if text is None else text.strip()


def exact(document: dict[str, Any]) -> str:
    return json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS,
                           ensure_ascii=False)  # fmt: skip


def user(found: dict[str, Any]) -> tuple[Any, ...] | None:
    name, followers = found["username"].strip().lower(), number(found.get("followers"))
    if name == "not a name!" or followers is None:
        return None
    address = found.get("address")
    address = address if isinstance(address, dict) else {}
    city = tidy(address.get("city"))
    longitude, latitude = address.get("geo", {}).get("coordinates", (None, None))
    newsletter = found.get("settings", {}).get("newsletter")
    born = found.get("born")
    return (
        name, unicodedata.normalize("NFC", " ".join(found["name"].split())),
        born and born.date().isoformat(), city and unicodedata.normalize("NFC", city), longitude,
        latitude, YES[newsletter], number(found["credit"]), followers, exact(found),
    )  # fmt: skip


def content(found: dict[str, Any]) -> tuple[Any, ...] | None:
    kind, views = KINDS.get((found.get("kind") or "post").lower()), number(found.get("views"))
    if kind is None or views is None:
        return None
    text, created = found.get("text"), found["created_at"]
    place = (found.get("place") or {}).get("name")
    reply = found.get("reply_to")
    return (
        found["author"]["username"].strip().lower(), kind, tidy(text or ""), int(text is not None),
        tidy(place), reply and str(reply), instant(created), views, exact(found),
    )  # fmt: skip


def instant(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


MEANT: dict[str, tuple[Any, tuple[str, ...]]] = {
    "users": (user, ("username", "name", "born", "city", "longitude", "latitude", "newsletter",
                     "credit", "followers", "document")),
    "content": (content, ("author", "kind", "text", "complete", "place", "reply_to", "created_at",
                          "views", "document")),
}  # fmt: skip
READ: dict[str, Any] = {"credit": Decimal, "followers": Decimal, "views": Decimal,
        "created_at": datetime.fromisoformat}  # fmt: skip


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_document_is_loaded_as_a_person_would_write_it_or_held(
    case: Case, collection: str
) -> None:
    meant, columns = MEANT[collection]
    wanted = {key: meant(found) for key, found in documents(case, collection).items()}
    assert len(wanted) > 100
    assert case.differences(collection, wanted, *columns, read=READ) == []


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_the_stream_is_verified_through_its_watermark(case: Case, collection: str) -> None:
    assert case.verified[collection].verified, case.verified[collection].note


def test_the_traffic_had_the_faults_that_it_promises(case: Case) -> None:
    users, posts = documents(case, "users").values(), documents(case, "content").values()
    assert case.rounds >= 3
    assert len({type(post["views"]) for post in posts if "views" in post}) >= 5
    assert {"missing" if "text" not in post else type(post["text"]) for post in posts} == {
        "missing", type(None), str,
    }  # fmt: skip
    assert {type(one["_id"]) for one in users} == {ObjectId, str}
    assert {type(one.get("address")) for one in users} >= {dict, str}
    assert min(one["born"] for one in users if "born" in one) < datetime(1970, 1, 1, tzinfo=UTC)
    assert case.held("users")
    assert case.held("content")
    gone = "SELECT count(*) FROM social__content WHERE _deleted"
    assert case.bare(gone) != [(0,)], "no document was deleted while the streams ran"


def test_who_registered_twice_is_one_user(case: Case) -> None:
    found = case.rows("users", "username", "_duplicate")
    twice = {name for name, again in found.values() if again}
    assert twice
    with case.knowledge() as store:
        for name in twice:
            ids = [id for id, (other, _) in found.items() if other == name]
            (record,) = store.entity("User", name).records
            assert record == ("social.users", min(sorted(ids), key=len))


def test_maps_become_attributes_and_arrays_relations(case: Case) -> None:
    id, found = next(
        (id, found) for id, found in documents(case, "content").items()
        if found["tags"] and found["mentions"] and found["likes"] and content(found)
    )  # fmt: skip
    with case.knowledge() as store:
        post = store.entity("Content", id)
        edges = store.neighbours("Content", id, direction="out").edges
    told = {name: {edge.to_key for edge in edges if edge.type == name}
            for name in ("TAGGED", "LIKED_BY", "MENTIONS", "POSTED_BY")}  # fmt: skip
    assert post.attributes["views"] == number(found.get("views"))
    assert told == {
        "TAGGED": set(found["tags"]),
        "LIKED_BY": set(found["likes"]),
        "MENTIONS": {one["username"] for one in found["mentions"]},
        "POSTED_BY": {found["author"]["username"].strip().lower()},
    }
    said = {edge.to_key: edge.qualifiers["at"] for edge in edges if edge.type == "MENTIONS"}
    assert said == {one["username"]: one["at"] for one in found["mentions"]}


def test_a_user_has_a_place_and_follows_others(case: Case) -> None:
    name, found = next(
        (found["username"].strip().lower(), found) for found in documents(case, "users").values()
        if isinstance(found.get("address"), dict) and found.get("follows") and user(found)
    )  # fmt: skip
    with case.knowledge() as store:
        one = store.entity("User", name)
        follows = store.neighbours("User", name, relation="FOLLOWS", direction="out").entities
    assert [one.attributes["longitude"], one.attributes["latitude"]] == (
        found["address"]["geo"]["coordinates"]
    )
    assert one.attributes["credit"] == found["credit"].to_decimal()
    assert set(follows) | {("User", name)} == {("User", other) for other in found["follows"]} | {
        ("User", name)
    }


def test_missing_content_is_an_empty_text_that_says_so(case: Case) -> None:
    found = [
        id for id, one in documents(case, "content").items()
        if one.get("text") is None and content(one)
    ]  # fmt: skip
    assert found
    with case.knowledge() as store:
        told = [store.entity("Content", id).attributes for id in found[:20]]
    assert {(each["text"], each["complete"]) for each in told} == {("", False)}


def test_what_is_deleted_in_the_source_is_gone_from_the_knowledge(case: Case) -> None:
    gone = [row[0] for row in case.bare("SELECT _key FROM social__content WHERE _deleted")]
    with case.knowledge() as store:
        posts = [store.entity("Content", id) for id in gone]
    assert {post.exists and not post.stub for post in posts} == {False}


def test_the_same_seed_does_the_same() -> None:
    def lived(seed: int) -> list[bytes]:
        endpoint, ticks = mongodb.server().fresh(), count(1_790_000_000)
        with mongodb.client(endpoint) as there:
            place = there[str(endpoint.database)]
            network = Community(place, seed, lambda: datetime.fromtimestamp(next(ticks), UTC))
            network.open(users=20, content=30)
            for _ in range(60):
                network.step()
            network.finish()
            return content_of(place)

    first, again, other = lived(7), lived(7), lived(8)
    assert first == again != other


def content_of(database: Database[dict[str, Any]]) -> list[bytes]:
    """All documents, in octets."""
    return [bson.encode(each) for name in COLLECTIONS for each in database[name].find().sort("_id")]

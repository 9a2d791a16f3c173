"""A social network on MongoDB that never rests: ``python -m demo.community CONNECTION_ID``.

It does what makes incremental reading hard, and does it on purpose:

- *late writes*: an application stamps a document, and writes it :data:`HOLD` steps later, when
  documents with younger stamps are long there; some late updates carry an older stamp than the
  document has already;
- updates of old documents, the same millisecond for many, users that leave (a field says so),
  documents that are deleted, users that register twice;
- fields of mixed types (numbers as Int32, Int64, double, Decimal128 and text; dates as text; a map
  or a text), missing fields and nulls, birthdays before 1970, emoji, names in any case.

The same seed does the same things in the same order, whatever the time.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from demo import people, traffic, words

if TYPE_CHECKING:
    from pymongo.database import Database

    from tidegate.connections import Endpoint

COLLECTIONS = ("users", "content")
LATE_SHARE = 0.12
HOLD = (2, 12)
"""Steps until a late write is done; the pipeline file's lookback covers them at one per second."""

DIRTY_SHARE = 0.03
TWICE_SHARE = 0.2

Document = dict[str, Any]
Write = Callable[[], object]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Community:
    """The network. :meth:`open` it, :meth:`step` through its life, :meth:`finish`."""

    database: Database[Document]
    seed: int = 7
    clock: Callable[[], datetime] = _now
    steps: int = 0
    late: list[tuple[int, list[Write]]] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)

    def open(self, users: int = 150, content: int = 400) -> None:
        """Create the collections and a past of some weeks, once; what exists just goes on."""
        self.users, self.content = self.database["users"], self.database["content"]
        for collection in (self.users, self.content):
            collection.create_index([("updated_at", 1), ("_id", 1)])
        self.users.create_index("email")
        known = self.content.count_documents({})
        self.chance = random.Random(f"{self.seed} {known}")
        self._names = sorted({each.split("@")[0] for each in self.users.distinct("email")})
        self._registered = self.users.count_documents({})
        self._posts = sorted((each["_id"] for each in self.content.find({}, ["_id"])), key=str)
        if known:
            return
        now = self.clock()
        past = [now - timedelta(seconds=self._between(60, 30 * 86_400)) for _ in range(content)]
        self.users.insert_many([self._user(moment) for moment in past[:users]])
        self.content.insert_many([self._document(moment) for moment in past])

    def step(self) -> None:
        """One thing happens; what was held until now is written."""
        self.steps += 1
        self._write_late(self.steps)
        happenings = {
            self._post: 30, self._like: 26, self._comment: 12, self._follow: 8, self._edit: 6,
            self._register: 5, self._move: 4, self._leave: 1, self._erase: 4, self._count: 4,
        }  # fmt: skip
        (happening,) = self.chance.choices(list(happenings), list(happenings.values()))
        writes = happening(self.clock())
        if self.chance.random() < LATE_SHARE:
            self.late.append((self.steps + self._between(*HOLD), writes))
        else:
            self._write(writes)

    def finish(self) -> None:
        """Write what is still held."""
        self._write_late(sys.maxsize)

    def _write_late(self, until: int) -> None:
        due = [writes for step, writes in self.late if step <= until]
        self.late = [entry for entry in self.late if entry[0] > until]
        for writes in due:
            self._write(writes)

    def _write(self, writes: list[Write]) -> None:
        for write in writes:
            write()

    # What can happen. Each returns writes, whose documents are stamped with *now*.

    def _post(self, now: datetime) -> list[Write]:
        return [self._insert(self._document(now))]

    def _comment(self, now: datetime) -> list[Write]:
        reply = {"kind": self.chance.choice(("comment", "Reply")), "reply_to": self._any_post()}
        return [self._insert({**self._document(now), **reply})]

    def _insert(self, document: Document) -> Write:
        return lambda: self.content.insert_one(document)

    def _like(self, now: datetime) -> list[Write]:
        """A few posts are liked in the same millisecond."""
        name = self.chance.choice(self._names)
        ids = [self._any_post() for _ in range(self._between(1, 3))]
        change = {"$addToSet": {"likes": name}, "$set": {"updated_at": now}}
        return [lambda: self.content.update_many({"_id": {"$in": ids}}, change)]

    def _edit(self, now: datetime) -> list[Write]:
        """A text changes; or is gone, as a field or as a value."""
        found = self._any_post()
        news = {"$set": {"text": self._text(), "updated_at": now}}
        gone = {"$unset": {"text": ""}, "$set": {"updated_at": now}}
        null = {"$set": {"text": None, "updated_at": now}}
        change = self.chance.choices((news, gone, null), (8, 1, 1))[0]
        return [lambda: self.content.update_one({"_id": found}, change)]

    def _count(self, now: datetime) -> list[Write]:
        """Views are counted, by several programs, each in its own type."""
        found, change = self._any_post(), {"$set": {"views": self._number(), "updated_at": now}}
        return [lambda: self.content.update_one({"_id": found}, change)]

    def _erase(self, _now: datetime) -> list[Write]:
        """A document is gone for good."""
        found = self._any_post()
        self._posts.remove(found)
        return [lambda: self.content.delete_one({"_id": found})]

    def _follow(self, now: datetime) -> list[Write]:
        one, other = self.chance.choice(self._names), self.chance.choice(self._names)
        change = {"$addToSet": {"follows": other}, "$set": {"updated_at": now}}
        return self._change_user(one, change)

    def _move(self, now: datetime) -> list[Write]:
        change = {"$set": {"address": self._address(), "updated_at": now}}
        return self._change_user(self.chance.choice(self._names), change)

    def _leave(self, now: datetime) -> list[Write]:
        change = {"$set": {"deleted_at": now, "updated_at": now}}
        return self._change_user(self.chance.choice(self._names), change)

    def _register(self, now: datetime) -> list[Write]:
        """Somebody new; some press the button twice, and are there twice."""
        user = self._user(now)
        twice = {**user, "_id": people.object_id(self.chance), "username": user["username"].upper()}
        some = [user, twice] if self.chance.random() < TWICE_SHARE else [user]
        return [lambda: self.users.insert_many(some)]

    def _change_user(self, name: str, change: Document) -> list[Write]:
        """Arrays can only grow where there is one: null is none."""
        who = {"email": people.EMAIL.format(name)}
        return [
            lambda: self.users.update_many({**who, "follows": None}, people.NO_FOLLOWS),
            lambda: self.users.update_many(who, change),
        ]

    # Documents.

    def _user(self, now: datetime) -> Document:
        self._registered += 1
        number = self._registered
        first, last = self.chance.choice(words.FIRST), self.chance.choice(words.LAST)
        handle = f"user{number:04d}" if number % 3 else f"{people.plain(first)}.{number:04d}"
        self._names.append(handle)
        user = {
            "_id": f"old-{number}" if number % 10 == 0 else people.object_id(self.chance),
            "username": self._spelt(handle) if not self._dirty() else "not a name!",
            "name": f" {first}  {last}{self.chance.choice(people.MARKS)}",
            "email": people.EMAIL.format(handle),
            "born": datetime(1931, 1, 1, tzinfo=UTC) + timedelta(days=self._between(0, 27_000)),
            "address": self._address(),
            "followers": self._number(),
            "credit": people.money(self._between(-5_000, 900_000)),
            "settings": {"newsletter": self.chance.choice((True, False, "yes", "No", 0, None))},
            "interests": self.chance.sample(people.TAGS, self._between(0, 3)),
            "follows": self.chance.choice((None, [], self._names[-1:], self._names[:2])),
            "updated_at": now,
        }
        return self._thinned(user, ("born", "address", "settings", "interests", "follows"))

    def _document(self, now: datetime) -> Document:
        found = people.object_id(self.chance)
        self._posts.append(found)
        author = self.chance.choice(self._names)
        document = {
            "_id": found,
            "author": {"username": self._spelt(author), "device": {"os": "linux"}},
            "kind": "spam?" if self._dirty() else self.chance.choice(("post", "post", "MSG", None)),
            "text": self._text(),
            "tags": self.chance.sample(people.TAGS, self._between(0, 3)),
            "mentions": [
                {"username": name, "at": 10 * place}
                for place, name in enumerate(self.chance.sample(self._names, self._between(0, 2)))
            ],
            "likes": [],
            "place": self.chance.choice((None, {"name": "Zürich "}, {"name": "東京", "lat": 35.6})),
            "views": self._number(),
            "created_at": self.chance.choice((now, now, now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))),
            "updated_at": now,
        }
        return self._thinned(document, ("kind", "text", "place", "views"))

    def _thinned(self, document: Document, optional: tuple[str, ...]) -> Document:
        """Some fields are missing, which is not the same as null."""
        gone = {name for name in optional if self.chance.random() < 0.05}
        return {name: value for name, value in document.items() if name not in gone}

    def _address(self) -> Any:
        city, *place = self.chance.choice(people.PLACES)
        return "unknown" if self._dirty() else {"city": city, "geo": {"coordinates": place}}

    def _text(self) -> str | None:
        return self.chance.choice(people.TEXTS)

    def _number(self) -> Any:
        if self._dirty():
            return self.chance.choice(("many", -3, float("nan")))
        return people.number(self._between(0, 5_000), self._between(0, 5))

    def _spelt(self, handle: str) -> str:
        return self.chance.choices((handle, handle.upper(), f" {handle}"), (8, 1, 1))[0]

    def _any_post(self) -> Any:
        return self.chance.choice(self._posts)

    def _between(self, low: int, high: int) -> int:
        return self.chance.randint(low, high)

    def _dirty(self) -> bool:
        return self.chance.random() < DIRTY_SHARE


def connect(endpoint: Endpoint) -> Database[Document]:
    """The network's database."""
    from pymongo import MongoClient

    from tidegate.sources.mongodb.session import arguments

    return MongoClient[Document](**arguments(endpoint, 30))[endpoint.database or "social_media"]


def make(endpoint: Endpoint, seed: int) -> Community:
    """The network behind *endpoint*."""
    return Community(connect(endpoint), seed)


if __name__ == "__main__":
    sys.exit(traffic.main(make, __doc__))

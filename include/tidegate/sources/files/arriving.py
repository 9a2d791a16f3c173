"""Which files are whole, and which of them are new: what is there, minus what arrived before.

No time decides what is new: a file that is old, and comes late, is as new as any. A file arrives
anew when its size, its time or, as its inode tells, its content changed, or when it took the place
of another delivery of its name; it does not when it was only given other rights or another name for
a while.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidegate.fields import seconds
from tidegate.model import Json
from tidegate.sources import Shared
from tidegate.sources.files.entry import (
    BadFileError,
    ChangedFileError,
    Entry,
    Place,
    delivered,
    file_of,
    returned,
)
from tidegate.sources.files.options import FilesStream

MARKER = ".done"


@dataclass
class Arriving:
    """The files of *place*, and what the store knows of those of the stream *name*."""

    place: Place
    stream: FilesStream
    name: str
    shared: Shared

    def note(
        self, entries: Iterable[Entry], looks: dict[str, Json], unread: dict[str, int]
    ) -> tuple[int, dict[str, Json]]:
        """Let arrive what is new and whole; the last number, and the next run's *looks*.

        *unread* is by name the last delivery that could not be read; it arrives once more.
        """
        there = list(entries)
        before = self.shared.arrived(self.name, (entry.known for entry in there))
        new = sorted(
            (entry for entry in there if entry.known not in before or entry.name in unread),
            key=lambda entry: (entry.modified, entry.name),
        )
        after: dict[str, Json] = {}
        whole = [entry for entry in new if self._is_whole(entry, looks, after)]
        items = [item for entry in whole for item in self._items(entry)]
        return self.shared.arrive(self.name, self._returned(items, unread)), after

    def numbered(self, entries: Sequence[Entry]) -> list[tuple[int, Entry]]:
        """Those of *entries* that arrived, by the number that the last such delivery has."""
        states = {entry.known: entry for entry in entries}
        contents: dict[str, str] = {}
        for one in self.shared.arrivals(self.name):
            if one.id in states and isinstance(one.body, str):
                contents[one.id] = one.body
        arrived = self.shared.arrived(self.name, states)
        wanted: dict[str, Entry] = {}
        for known in arrived:
            entry = states[known]
            content = entry.content or contents.get(known)
            wanted[entry.delivery(self._content(entry) if content is None else content)] = entry
        found = {
            id: (one.number, wanted[id])
            for one in self.shared.arrivals(self.name)
            if (id := delivered(one.id)) in wanted
        }
        return sorted(found.values(), key=lambda pair: pair[0])

    def _returned(
        self, items: list[tuple[str, Json]], unread: dict[str, int]
    ) -> list[tuple[str, Json]]:
        """*items*, where what took another's place again, or was not read, is a new delivery."""
        deliveries = {id: body["file"] for id, body in items if isinstance(body, dict)}
        before = self.shared.arrived(self.name, deliveries)
        names = {deliveries[id] for id in before}
        arrivals = self.shared.arrivals(self.name) if names else ()
        last = {name: one for one in arrivals if (name := file_of(one)) in names}
        again: dict[str, str] = {}
        for id in before:
            one = last.get(deliveries[id])
            if one and (delivered(one.id) != id or unread.get(deliveries[id]) == one.number):
                again[id] = returned(id, one.number)
        return [(again.get(id, id), body) for id, body in items]

    def _items(self, entry: Entry) -> list[tuple[str, Json]]:
        try:
            content = self._content(entry)
        except ChangedFileError:  # not whole after all
            return []
        body = {"file": entry.name, "size": entry.size, "modified": entry.modified}
        delivery = (entry.delivery(content), body)
        return [delivery] if entry.content else [delivery, (entry.state, content)]

    def _content(self, entry: Entry) -> str:
        if entry.content or self.stream.grows:
            return entry.content
        try:
            return self.place.digest(entry)
        except BadFileError:  # said when it is read
            return ""

    def _is_whole(self, entry: Entry, looks: dict[str, Json], after: dict[str, Json]) -> bool:
        if self.stream.ready == "marker":
            return self.place.has(entry.path + MARKER)
        settle = seconds(self.stream.settle)
        if self.stream.ready == "rename" or self.stream.grows or self.place.whole or not settle:
            return True
        now = time.time()
        state, since = looks.get(entry.name) or (None, now)
        if state != entry.state or since > now:
            since = now
        if now - since >= settle and now - entry.modified / 10**9 >= settle:
            return True
        after[entry.name] = [entry.state, since]
        return False

"""A stream and what it takes to run it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate import settings
from tidegate.connections import Endpoint, Resolve
from tidegate.errors import UndefinedConnectionError
from tidegate.pipeline.models import Source, Stream

if TYPE_CHECKING:
    from tidegate.store.store import Store


@dataclass(frozen=True)
class Job:
    """A stream and what it takes to run it."""

    source: Source
    name: str
    stream: Stream
    resolve: Resolve

    @property
    def full_name(self) -> str:
        """``source.stream``, the stream's name everywhere."""
        return f"{self.source.name}.{self.name}"

    def endpoint(self) -> Endpoint:
        """Where the rows come from."""
        return self.resolve(self.source.connection)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Where they go: connection ``tidegate_store``, else a SQLite file in the home folder."""
        from tidegate.store import open_store

        with open_store(store_endpoint(self.resolve)) as store:
            yield store


def store_endpoint(resolve: Resolve) -> Endpoint:
    """The store's connection, or the embedded default when none is defined."""
    try:
        return resolve(settings.STORE_CONNECTION)
    except UndefinedConnectionError:
        file = str(settings.home() / "store.db")
    return Endpoint(settings.STORE_CONNECTION, "sqlite", database=file)

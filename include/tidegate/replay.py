"""The quarantine in the place of the source: what a replay pulls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tidegate.errors import TidegateError
from tidegate.model import Json, Replay, Request, Watermark, Window
from tidegate.sources import Observation, Rows, Shared
from tidegate.types import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.store.store import Store


class Quarantine:
    """The held rows of one stream, as they were pulled, with the order tokens they had then.

    *source* is opened for its columns only, and only when no run has noted any.
    """

    def __init__(
        self, store: Store, request: Request, page_rows: int, source: Callable[[], Rows]
    ) -> None:
        self._store = store
        self._stream = request.stream
        self._wanted = request.replay or Replay()
        self._page_rows = page_rows
        self._source = source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held open."""

    def columns(self) -> list[Column]:
        """Of the stream's last pull."""
        return self._columns

    def adopt(self, columns: Sequence[Column]) -> None:
        """Rows in quarantine are read as they were held."""

    def census(self) -> dict[str, int]:
        """Nothing of the kind."""
        return {}

    def memory(self) -> dict[str, Json]:
        """Nothing to find again."""
        return {}

    def changed(self) -> str | None:
        """Held rows do not change."""
        return None

    def fetch(self, read: int, keys: Sequence[str]) -> Iterator[pa.Table]:
        """Those of the rows that have these keys."""
        wanted = replace(self._wanted, keys=tuple(keys))
        return self._store.replay(self._stream, wanted, self._columns, self._page_rows)

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The source's clock at the last look; a replay says nothing of how far it is complete."""
        return Observation(None, self._store.state(self._stream).observed_at or "")

    def came(self, low: Watermark) -> tuple[str, ...]:
        """Rows in quarantine come by a run."""
        return ()

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """The rows that the request wants; they keep their tokens whatever *read* is."""
        return self._store.replay(self._stream, self._wanted, self._columns, self._page_rows)

    @cached_property
    def _columns(self) -> list[Column]:
        if known := self._store.source_columns(self._stream):
            return known
        try:
            with self._source() as source:
                return source.columns()
        except TidegateError as error:
            raise type(error)(
                f"{self._stream}: no run has noted the columns that the rows in quarantine had, "
                f"and the source cannot tell them: {error}"
            ) from error

"""The quarantine in the place of the source: what a replay pulls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tidegate.errors import TidegateError
from tidegate.model import Replay, Request, Watermark, Window
from tidegate.sources import Observation, Rows
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

    def observe(self) -> Observation:
        """The source's clock at the last look; a replay says nothing of how far it is complete."""
        return Observation(None, self._store.state(self._stream).observed_at or "")

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

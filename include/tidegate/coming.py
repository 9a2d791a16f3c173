"""An increment that is still being staged: the next step begins with its first pages.

The stage is the queue between two steps: it holds what one of them has done and the other has not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition
from typing import cast, overload

from tidegate.model import Increment, StagedPage

Onward = Callable[[Increment], None]
"""Takes the beginning of an increment; its pages are :class:`Coming`."""


class EndedError(Exception):
    """Another step has failed with *error*, so that this one has nothing to do any more."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error: BaseException = error.error if isinstance(error, EndedError) else error


class Coming(Sequence[StagedPage]):
    """Its pages, in order. Who asks for one that is not staged yet waits for it.

    Raises EndedError once the step that stages them, or one that takes them, has failed.
    """

    def __init__(self) -> None:
        self._pages: list[StagedPage] = []
        self._whole: Increment | None = None
        self._error: EndedError | None = None
        self._news = Condition()

    def add(self, page: StagedPage) -> None:
        """The next one is there."""
        with self._news:
            if self._error:
                raise self._error
            self._pages.append(page)
            self._news.notify_all()

    def close(self, whole: Increment) -> None:
        """That was the last one of *whole*."""
        with self._news:
            self._whole = whole
            self._news.notify_all()

    def fail(self, error: BaseException) -> None:
        """There will be no more, and nobody is to wait for them."""
        with self._news:
            self._error = self._error or EndedError(error)
            self._news.notify_all()

    def whole(self) -> Increment:
        """The increment, once it is complete."""
        self._wait(lambda: False)
        return cast("Increment", self._whole)

    @overload
    def __getitem__(self, place: int) -> StagedPage: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[StagedPage]: ...
    def __getitem__(self, place: int | slice) -> StagedPage | Sequence[StagedPage]:
        if isinstance(place, slice):
            return self.whole().pages[place]
        self._wait(lambda: len(self._pages) > place)
        return self._pages[place]

    def __len__(self) -> int:
        return len(self.whole().pages)

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Until *ready*, or the end."""
        with self._news:
            self._news.wait_for(lambda: ready() or self._whole or self._error)
            if self._error:
                raise self._error


def is_coming(increment: Increment) -> bool:
    """Whether *increment* is a beginning, handed over while it was staged."""
    return isinstance(increment.pages, Coming)


def whole(increment: Increment) -> Increment:
    """*increment*, once it is complete."""
    return increment.pages.whole() if isinstance(increment.pages, Coming) else increment


def fail(increment: Increment, error: BaseException) -> None:
    """Nobody is interested in *increment* any more, because of *error*."""
    if isinstance(increment.pages, Coming):
        increment.pages.fail(error)

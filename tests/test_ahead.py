"""The next item is made meanwhile, and never longer than its maker is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, current_thread, main_thread

import pytest

from tidegate.ahead import ahead


def test_one_more_is_made_while_one_is_worked_on() -> None:
    second = Event()

    def items() -> Iterator[int]:
        assert current_thread() is not main_thread()
        yield 1
        second.set()
        yield 2

    with ThreadPoolExecutor(1) as thread, ahead(items(), thread) as made:
        assert next(made) == 1
        assert second.wait(10)
        assert list(made) == [2]


def test_what_making_one_raises_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OverflowError

    with ThreadPoolExecutor(1) as thread, ahead(items(), thread) as made:
        assert next(made) == 1
        with pytest.raises(OverflowError):
            next(made)


def test_nothing_is_being_made_any_more_when_it_is_left() -> None:
    begun, goes_on, ended = Event(), Event(), Event()

    def items() -> Iterator[int]:
        yield 1
        begun.set()
        goes_on.wait(10)
        ended.set()
        yield 2

    with ThreadPoolExecutor(1) as thread:
        with ahead(items(), thread) as made:
            assert next(made) == 1
            assert begun.wait(10)
            goes_on.set()
        assert ended.is_set()


def test_without_a_thread_nothing_is_made_before_its_turn() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(3):
            made.append(number)
            yield number

    with ahead(items(), None) as found:
        assert next(found) == 0
    assert made == [0]

"""The next item is made meanwhile, and never longer than its maker is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, current_thread, main_thread

import pytest

from tidegate.ahead import Turn, ahead, in_turn


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


def test_the_next_is_prepared_while_one_has_its_turn_and_all_are_in_order() -> None:
    prepared = [Event() for _ in range(5)]
    done: list[int] = []

    def work(item: int, turn: Turn) -> int:
        prepared[item].set()
        turn()
        if item < 4:
            assert prepared[item + 1].wait(10), "it is prepared meanwhile"
        done.append(item)
        return item * 10

    assert list(in_turn(work, range(5), overlap=True)) == [0, 10, 20, 30, 40]
    assert done == [0, 1, 2, 3, 4]


def test_what_is_behind_a_failure_has_no_turn() -> None:
    done: list[int] = []
    begun: list[int] = []

    def work(item: int, turn: Turn) -> int:
        begun.append(item)
        turn()
        if item == 1:
            raise OverflowError
        done.append(item)
        return item

    made = in_turn(work, range(100), overlap=True)
    assert next(made) == 0
    with pytest.raises(OverflowError):
        next(made)
    assert done == [0]
    assert set(begun) <= {0, 1, 2}, "one may have been being prepared"


@pytest.mark.parametrize(("items", "overlap"), [(range(3), False), (range(1), True)])
def test_alone_or_without_overlap_all_is_done_by_the_caller(items: range, overlap: bool) -> None:
    def work(item: int, turn: Turn) -> bool:
        turn()
        return current_thread() is main_thread()

    assert all(in_turn(work, items, overlap=overlap))


def test_who_leaves_early_waits_for_what_has_begun() -> None:
    begun, goes_on = Event(), Event()
    ended: list[int] = []

    def work(item: int, turn: Turn) -> int:
        turn()
        if item == 1:
            begun.set()
            assert goes_on.wait(10)
        ended.append(item)
        return item

    made = in_turn(work, range(100), overlap=True)
    assert next(made) == 0
    assert begun.wait(10)
    goes_on.set()
    made.close()
    assert ended[:2] == [0, 1]

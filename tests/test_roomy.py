"""A loop that stands at the end of a piece of Python's stack asks the system for no memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable

import pytest

from tidegate.roomy import roomy

DEPTHS, CALLS = 300, 200


def inner(number: int) -> int:
    return number + 1


def outer(number: int) -> int:
    return inner(number) + inner(number)


def worst(depth: int = 0) -> int:
    """The most page faults of a loop of calls, at any of these depths."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for number in range(CALLS):
        outer(number)
    mine = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return max(mine, worst(depth + 1)) if depth < DEPTHS else mine


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python keeps a spare piece by itself")
def test_without_room_some_loop_asks_for_memory_with_every_call() -> None:
    assert worst() >= CALLS


def test_with_room_no_loop_does() -> None:
    assert roomy(worst)() < CALLS / 2


def test_a_roomy_function_is_the_same_otherwise() -> None:
    def divide(number: int, /, *, by: int = 1) -> float:
        """Halves and the like."""
        return number / by

    roomily: Callable[..., float] = roomy(divide)
    assert (roomily(6, by=2), roomily(6)) == (3, 6)
    assert (roomily.__name__, roomily.__doc__) == ("divide", "Halves and the like.")
    with pytest.raises(ZeroDivisionError):
        roomily(6, by=0)

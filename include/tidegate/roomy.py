"""Room for calls: a function whose own calls never wait for memory.

CPython 3.11 and 3.12 keep the frames of a thread in pieces of 16 kB. A loop that happens to stand
at the end of one gets the next piece from the system with every call, and gives it back when that
returns: importing Great Expectations does so forty thousand times, a quarter of its time. A frame
that declares a large stack gets a piece of its size, and the calls below it have what it leaves.
Source: CPython's issue 142183, and ``push_chunk`` in its Python/pystate.c. Where Python keeps a
spare piece, as that issue has it do since, it changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_SLOTS = 70_000
"""Words of a stack nobody uses: a little more than half a MB, so that the piece is one of 1 MB."""


def roomy(function: Callable[P, R]) -> Callable[P, R]:
    """*function*, with room for some hundreds of nested calls; the memory is only reserved."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    call.__code__ = call.__code__.replace(co_stacksize=_SLOTS)
    return functools.wraps(function)(call)

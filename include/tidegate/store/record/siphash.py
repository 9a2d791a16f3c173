"""SipHash-2-4 of many rows at once: a word of all rows at a time, in numpy.

A row is a sequence of 64-bit words; the number of them must follow from the words before, since it
is not hashed itself (SipHash's own last word holds a text's length). The digest is 64 bits.
Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_BEGINNING = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
_END = np.uint64(0xFF)
_OFTEN, _AT_LAST = 2, 4
"""Rounds for a word, and after the last one."""


@dataclass(frozen=True, slots=True)
class Tails:
    """What follows the words that all rows have: of each row, *counts* words of *words*.

    They begin at the row's place in *starts*.
    """

    words: Words
    starts: Places
    counts: Places


def hashes(heads: Sequence[Words], tails: Tails, key: bytes) -> npt.NDArray[np.int64]:
    """One for each row, of the row's words in *heads*, then those in *tails*; *key* has 16 octets.

    The longest rows go first, so that those which go on are always the beginning of the arrays.
    """
    order = np.argsort(-tails.counts, kind="stable")
    starts, counts = tails.starts[order], tails.counts[order][::-1]
    state = np.empty((4, len(order)), np.uint64)
    halves = np.frombuffer(key, "<u8").astype(np.uint64)
    for place, constant in enumerate(_BEGINNING):
        state[place] = halves[place % 2] ^ np.uint64(constant)
    spare = np.empty(len(order), np.uint64)
    for words in heads:
        _absorb(state, words, spare)
    state = state.take(order, axis=1)  # an index would leave gaps between the words
    for place in range(counts[-1] if len(counts) else 0):
        rows = len(counts) - int(np.searchsorted(counts, place, side="right"))
        _absorb(state[:, :rows], tails.words[starts[:rows] + place], spare[:rows])
    state[2] ^= _END
    _turn(state, spare, _AT_LAST)
    found = np.empty(len(order), np.uint64)
    found[order] = np.bitwise_xor.reduce(state)
    return found.view(np.int64)


def _absorb(state: Words, words: Words, spare: Words) -> None:
    state[3] ^= words
    _turn(state, spare, _OFTEN)
    state[0] ^= words


def _turn(state: Words, spare: Words, rounds: int) -> None:
    a, b, c, d = state
    for _ in range(rounds):
        _mix(a, b, 13, spare)
        _rotate(a, 32, spare)
        _mix(c, d, 16, spare)
        _mix(a, d, 21, spare)
        _mix(c, b, 17, spare)
        _rotate(c, 32, spare)


def _mix(into: Words, other: Words, bits: int, spare: Words) -> None:
    into += other
    _rotate(other, bits, spare)
    other ^= into


def _rotate(words: Words, bits: int, spare: Words) -> None:
    np.right_shift(words, np.uint64(64 - bits), out=spare)
    np.left_shift(words, np.uint64(bits), out=words)
    words |= spare

"""What one look at a part of a stream tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tidegate.model import Json

Range = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Look:
    """A part of the source's rows, against the store's.

    rows      compared; *listed*, of these, key by key
    suspects  keys that seem to differ
    range     of keys, where the source can tell: first ≤ number < until
    lacks     whether the store has keys there that the source seems to lack
    position  where to go on when this was dealt with; None: where the look before said
    seconds   how long the source was busy
    """

    rows: int = 0
    listed: int = 0
    suspects: tuple[str, ...] = ()
    range: Range = (None, None)
    lacks: bool = False
    position: dict[str, Json] | None = None
    seconds: float = 0.0


class Comparison(Protocol):
    """A way to compare a stream with its source."""

    def looks(self, position: dict[str, Json]) -> Iterator[Look]:
        """Go over the stream from *position* on; ``{}`` is the beginning."""

    def lacking(self, ranges: list[Range]) -> Iterator[str]:
        """Keys that the store has in *ranges*, and the source seems to lack."""

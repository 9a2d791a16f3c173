"""How far a stream is complete: the server's clock (or the largest cursor) minus the lookback.

The lookback has to be longer than any transaction that writes the table: a row that commits later
than that after its stamp is missed. All of this guess is in :func:`observe`. Bounds are whole
seconds: a column without fractions keeps 12:00:00.7 as 12:00:00, below a bound of 12:00:00.5.
"""

from __future__ import annotations

import math
from datetime import datetime, tzinfo
from decimal import Decimal

from tidegate.errors import ConfigError
from tidegate.fields import duration
from tidegate.model import Watermark
from tidegate.sources import Observation
from tidegate.sources.sql.moments import to_watermark
from tidegate.types import TEMPORAL, ColumnType


def observe(
    clock: datetime,
    largest: Decimal | float | None,
    lookback: str | int,
    type: ColumnType,
    zone: tzinfo,
) -> Observation:
    """The safe bound for a cursor of *type*, seen at *clock*.

    Args:
        clock: the server's time, aware.
        largest: the largest cursor value there is; looked at for whole numbers only.
        lookback: as the pipeline file has it, checked by :func:`require_lookback`.
        type: the cursor's type.
        zone: where its zone-less readings are.
    """
    high: Watermark | None = None
    if type.name in TEMPORAL:
        safe = (clock - duration(str(lookback))).replace(microsecond=0)
        high = to_watermark(safe, type, zone)
    elif largest is not None:
        high = Watermark(math.floor(largest) - int(lookback))
    return Observation(high, clock.isoformat(timespec="microseconds"))


def require_lookback(where: str, lookback: str | int, type: ColumnType, cursor: str) -> None:
    """Raise ConfigError when the lookback cannot be taken off the cursor."""
    if type.name in TEMPORAL and isinstance(lookback, int):
        raise ConfigError(
            f"{where}: lookback: {lookback} is a number, but the cursor {cursor!r} is of type "
            f"{type}. Write a duration, like lookback: 1m"
        )
    if type.name not in TEMPORAL and not isinstance(lookback, int):
        raise ConfigError(
            f"{where}: lookback: {lookback!r} is a duration, but the cursor {cursor!r} is of type "
            f"{type}. Write how many numbers to read again, like lookback: 1000"
        )

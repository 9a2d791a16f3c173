"""What a stream of a RabbitMQ queue may say. Light: a DAG file is parsed with it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tidegate.fields import Duration
from tidegate.pipeline.models import Settings
from tidegate.sources.rows.options import DeclaredStream, Path


class RabbitSettings(Settings):
    """What ``defaults:`` and a stream of a queue may both set."""

    messages: int = Field(
        1_000_000, ge=1, description="messages that one run takes from a queue at most"
    )
    listen: Duration = Field(
        "30s", description="how long one run goes on taking while more keep coming"
    )
    prefetch: int = Field(
        1_000, ge=1, le=65_535,
        description="messages that the broker gives before one is acknowledged; they are kept in "
        "one transaction",
    )  # fmt: skip
    max_bytes: int = Field(
        16_000_000, ge=1, description="a larger message is not read but held, in quarantine"
    )


class RabbitStream(RabbitSettings, DeclaredStream):
    """Messages with JSON in them, from a classic queue, a quorum queue or a stream queue."""

    reads: ClassVar[str] = "queue"
    windows: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    queue: str = Field(
        min_length=1, max_length=255,
        description="the queue, which must be there; classic, quorum or stream",
    )  # fmt: skip
    rows: Path | None = Field(
        None, description="where in a message its rows are: a list, or one row; default: the "
        "message is the row",
    )  # fmt: skip

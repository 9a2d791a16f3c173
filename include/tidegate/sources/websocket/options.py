"""What a stream of WebSocket messages may say. Light: a DAG file is parsed with it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from tidegate.fields import Duration, Strict, seconds
from tidegate.pipeline.models import Settings
from tidegate.sources.rows.options import DeclaredStream, Path

Message = str | dict[str, Any]
"""A text as it is, or a mapping that is sent as JSON."""
Plain = str | int | bool


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class Resume(Strict):
    """How the server goes on where it was, if it can."""

    field: Path = Field(description="where in a message its position is, like seq")
    send: Message = Field(
        description="what to send after connecting; {value} is the position heard last"
    )
    instead: bool = Field(False, description="send it instead of subscribe, not behind it")


class WebSocketSettings(Settings):
    """What ``defaults:`` and a stream of messages may both set."""

    listen: Duration = Field("20s", description="how long a run listens")
    messages: int = Field(10_000, ge=1, description="messages after which a run listens no more")
    max_megabytes: int = Field(1, ge=1, le=100, description="largest message")


class WebSocketStream(WebSocketSettings, DeclaredStream):
    """Messages that a server sends while somebody listens."""

    reads: ClassVar[str] = "subscribe"
    windows: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    subscribe: Annotated[
        tuple[Message, ...],
        BeforeValidator(_several, json_schema_input_type=Message | list[Message]),
    ] = Field(
        description="what to send after connecting: a text, a mapping (sent as JSON), or a list of "
        "such; an empty list, where the server begins by itself",
        examples=[{"op": "subscribe", "channel": "orders"}],
    )
    rows: Path | None = Field(
        None, description="where in a message its row or rows are, like data; default: it is one"
    )
    only: dict[str, Plain | tuple[Plain, ...]] = Field(
        {},
        description="messages that count, by what they say: {type: trade}; all others (greetings, "
        "signs of life) are counted and let go",
    )
    id: Path | None = Field(
        None,
        description="where in a message its identity is: one that is heard twice, word for word, "
        "counts once; default: each counts",
    )
    error_at: Path | None = Field(None, description="where a message tells of an error")
    resume: Resume | None = Field(
        None, description="how the server goes on where it was; default: it cannot"
    )
    acknowledge: Message | None = Field(
        None, description="what to send for each message that is kept; {value} is its identity"
    )

    @property
    def what(self) -> str:
        """The subscription, briefly."""
        return f"messages, {'resumed' if self.resume else 'heard while listening'}"

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if self.acknowledge is not None and self.id is None:
            raise ValueError(
                "acknowledge names messages by their identity. Say with id: where it is"
            )
        if seconds(self.listen) <= 0 or seconds(self.listen) >= seconds(self.execution_timeout):
            raise ValueError(
                f"listen: {self.listen!r} leaves a run of {self.execution_timeout} no time. Write "
                "less than execution_timeout, and more than 0s"
            )
        return self

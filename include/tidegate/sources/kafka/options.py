"""What a stream of a topic may say. Light: a DAG file is parsed with it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tidegate.fields import Duration
from tidegate.pipeline.models import Settings
from tidegate.sources.rows.options import WHOLE, DeclaredStream

FACTS = ("key", "partition", "offset", "timestamp", "headers", "topic")
"""What is told of a message beside its value: ``$key`` …"""

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=249, examples=["invoices"])]


class KafkaSettings(Settings):
    """What ``defaults:`` and a stream of a topic may both set."""

    value: Literal["json", "text", "avro"] = Field(
        "json", description="what the messages' values are; avro: by the schema registry"
    )
    key: Literal["text", "json"] = Field(
        "text", description="what the messages' keys are; json: its members are $key.name"
    )
    gap: Literal["stop", "skip"] = Field(
        "stop",
        description="when the broker deleted messages before they were read: stop, or note how "
        "many and go on",
    )
    timeout: Duration = Field("30s", description="longest wait for an answer of the brokers")


class KafkaStream(KafkaSettings, DeclaredStream):
    """A topic, read by offset."""

    reads: ClassVar[str] = "topic"
    compares: ClassVar[bool] = False
    deletions: ClassVar[bool] = True

    topic: Topic = Field(description="the topic")

    @property
    def unwatchable(self) -> str | None:
        """Brokers tell the ends of all topics at once."""
        return None

    @property
    def facts(self) -> frozenset[str]:
        """Those that its columns ask for."""
        return frozenset(self.path(name)[0][1:] for name in self.columns) & {*FACTS}

    @model_validator(mode="after")
    def _asks_for_what_there_is(self) -> Self:
        for name in self.columns:
            first = self.path(name)[0]
            if first.startswith(WHOLE) and first != WHOLE and first[1:] not in FACTS:
                raise ValueError(
                    f"columns: {name!r} asks for {first!r}, which a message does not have. "
                    f"It has: {', '.join('$' + fact for fact in FACTS)}"
                )
        return self

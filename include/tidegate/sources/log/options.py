"""What a stream of a database's log may say. Light: a DAG file is parsed with it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tidegate.fields import Duration, TypeName
from tidegate.pipeline.models import Settings, Stream
from tidegate.sources.sql.options import Table

PostgresName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=63)]


class LogSettings(Settings):
    """What ``defaults:`` and a stream of a log may both set."""

    publication: PostgresName = Field(
        "tidegate", description="PostgreSQL: the publication that the table is part of"
    )
    pause_above: int | None = Field(
        50, ge=1, description="wait before a page while the source runs more statements than this"
    )
    statement_timeout: Duration = Field("30s", description="longest query on the source")
    log_timeout: Duration = Field(
        "30m", description="longest time until the log gives its first change"
    )


class LogStream(LogSettings, Stream):
    """A table, read from its database's log."""

    reads: ClassVar[str] = "log"
    windows: ClassVar[bool] = False
    deletions: ClassVar[bool] = True

    log: Table = Field(description="the table, as table or schema.table")
    types: dict[str, TypeName] = Field({}, description="column types that replace the catalogue's")
    slot: PostgresName | None = Field(
        None,
        description="PostgreSQL: the replication slot, of this stream alone; it is made by the "
        "first run; default: a name made of the stream's",
    )

    @property
    def unwatchable(self) -> str | None:
        """The server tells where its log ends."""
        return None

    @property
    def watched(self) -> bool:
        """Only where it is written: whatever is committed on the server starts a run."""
        return bool(self.watch)

    @property
    def declared(self) -> frozenset[str]:
        """The columns of ``types:``."""
        return frozenset(self.types)

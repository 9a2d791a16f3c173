"""Since when stored rows hold in the world, told anew when the pipeline file says so otherwise.

Each load dates its own rows (:mod:`tidegate.store.record.layouts`). Rows that are there already
were dated by the file of then, or not at all by stores of version 0001; a derivation brings them up
to date.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.engine import Connection

from tidegate.pipeline.models import Stream
from tidegate.store.record import cells, frames, layouts
from tidegate.store.record.layouts import Layout
from tidegate.store.record.records import current_name
from tidegate.store.sqltext import Script
from tidegate.types import TEMPORAL


def definition(stream: Stream) -> dict[str, str]:
    """What the dates of a stream's rows depend on."""
    return {"valid": stream.valid_from or stream.cursor_column or "", "zone": stream.time_zone}


def begin(connection: Connection, stream: str, dating: dict[str, str]) -> None:
    """From now on rows of *stream* may be dated by *dating* as well as in the ways of before."""
    known = layouts.known(connection, stream)[::-1]
    layouts.write(connection, stream, [*known, *_redated(connection, stream, known, dating)])


def end(connection: Connection, stream: str, dating: dict[str, str]) -> None:
    """All rows are dated by *dating* now."""
    known = layouts.known(connection, stream)[::-1]
    layouts.write(connection, stream, _redated(connection, stream, known, dating))


def fill(
    connection: Connection, stream: str, dating: dict[str, str], where: str, values: dict[str, str]
) -> None:
    """Date the rows of both tables that meet *where*, a condition on ``_key``."""
    data = frames.columns_of(connection, stream)
    column = _column(connection, stream, dating)
    layout = Layout(tuple(data), same=False, valid=column, zone=dating["zone"])
    inputs = [each for each in data if each.name == column]
    current = current_name(stream)
    script = Script(connection, {}, dict(values))
    for table, stamp in ((current, "_seq"), (f"{current}__history", "_seq_to")):
        cells.compute(script, table, "_valid", inputs, layout.moments, stamp=stamp, where=where)


def _redated(
    connection: Connection, stream: str, known: list[Layout], dating: dict[str, str]
) -> list[Layout]:
    column = _column(connection, stream, dating)
    return [replace(layout, valid=column, zone=dating["zone"]) for layout in known]


def _column(connection: Connection, stream: str, dating: dict[str, str]) -> str | None:
    """The column that dates rows; None when it is not there, or has no times."""
    columns = frames.columns_of(connection, stream)
    temporal = {column.name for column in columns if column.type.name in TEMPORAL}
    return dating["valid"] if dating["valid"] in temporal else None

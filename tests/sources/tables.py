"""Tables for the source tests: filled on a real server, read back through the product."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services import Server
from tidegate.connections import Endpoint
from tidegate.model import Watermark, Window
from tidegate.sources import Finding, open_source
from tidegate.sources.sql.options import SqlStream

STAMP = {"mysql": "DATETIME(6)", "postgres": "TIMESTAMP(6)", "sqlite": "DATETIME"}
INSTANT = {"mysql": "TIMESTAMP(6) NULL", "postgres": "TIMESTAMPTZ", "sqlite": "DATETIME"}


def stream(**fields: Any) -> SqlStream:
    """A stream of the table ``orders``, key ``id``, cursor ``changed``, unless told otherwise."""
    return SqlStream(**{"table": "orders", "primary_key": "id", "cursor": "changed", **fields})


def insert(
    server: Server, endpoint: Endpoint, table: str, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Put *rows* in, values as the driver takes them."""
    with server.engine(endpoint).begin() as connection:
        for row in rows:
            place = sa.table(table, *(sa.column(name) for name in row))
            connection.execute(sa.insert(place).values(row))


def pull(
    endpoint: Endpoint,
    stream: SqlStream,
    low: str | int | None = None,
    window: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """All rows of one pull, page after page."""
    watermark = None if low is None else Watermark(low)
    with open_source(endpoint, stream, "shop.orders") as source:
        pages = source.pull(7, watermark, Window(*window) if window else None)
        return [row for page in pages for row in page.to_pylist()]


def findings(endpoint: Endpoint, stream: SqlStream) -> dict[str, Finding]:
    """What the doctor says, by code."""
    with open_source(endpoint, stream, "shop.orders") as source:
        return {finding.code: finding for finding in source.check()}


def keys(rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Their keys, in the order read."""
    return [row["_key"] for row in rows]

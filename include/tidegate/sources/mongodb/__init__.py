"""Collections of MongoDB, read by a cursor; every document exactly, whatever types it has.

From the source inwards::

    reading    the source: what a run, a repair and a comparison ask for
    bound      how far the stream is complete: the clock, and the writes that are open
    slices     which documents a run reads, by queries that their indexes serve
    documents  BSON → rows; what does not fit one is held
    session    one client; its errors end here
    options    what a stream may say
    discovery  what streams there could be
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate.pipeline.kinds import Kind, Proposal
from tidegate.sources.mongodb.options import MongoSettings, MongoStream

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources import Source


def _open(endpoint: Endpoint, stream: MongoStream, name: str) -> Source:
    from tidegate.sources.mongodb.reading import MongoSource

    return MongoSource(endpoint, stream, name)


def _discover(endpoint: Endpoint) -> Iterator[Proposal]:
    from tidegate.sources.mongodb.discovery import proposals

    return proposals(endpoint)


KIND = Kind("mongodb", MongoStream, MongoSettings, ("mongo", "mongodb"), _open, _discover)

"""REST lists and GraphQL queries: rows out of JSON answers, page by page.

From the source inwards::

    reading    the source: what a run and a comparison ask for
    clocks     how far a list is complete, by the server's own clock; times as it writes them
    passes     lists that shift under a reader are read until two readings agree
    paging     from one page to the next, and where that ends
    session    one request: pace, patience, sizes; whatever goes wrong becomes an error of ours
    transport  bytes over one guarded connection
    tokens     OAuth 2 client credentials
    ask        a request before it is sent; an answer when it is read
    options    what a stream may say
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.pipeline.kinds import Kind
from tidegate.sources.rest.options import RestSettings, RestStream

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources import Source


def _open(endpoint: Endpoint, stream: RestStream, name: str) -> Source:
    from tidegate.sources.rest.reading import RestSource

    return RestSource(endpoint, stream, name)


KIND = Kind("rest", RestStream, RestSettings, ("http", "https"), _open)

"""Where facts live: typed records with history, the knowledge drawn from them, and the ledger.

``store``      the store as the rest of the program sees it
``loading``    one increment in ONE transaction: all of the below, or none of it
``record``     the record layer: a stream's versions in two tables, merged, never lost
``knowledge``  the knowledge layer: entities, attributes and relations by the mapping in force
``reading``    what may be asked: records, entities, neighbours, why, changes, at any commit
``checks``     seven invariants, and the repair
``ledger``     streams, watermarks and commits; ``leases`` who may move a watermark now
``quarantine`` held rows; ``originals`` as they were pulled; ``replay`` once more
``servers``    what all streams of a server know; ``status``, ``rows``, ``runs`` small looks
``engine``     open a database, and say plainly why it cannot be opened
``tables``     the fixed tables, once for SQLite and PostgreSQL; ``upgrade`` brings old stores there
``retention``  what is no longer kept; ``digest`` what two equal stores share

>>> from tidegate.store import open_store
>>> with open_store(endpoint) as store:
...     store.entity("Customer", "17850", as_of_seq=12).attributes["country"]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.store.reading.answers import (
        Change,
        Changes,
        Conflict,
        Conflicts,
        Edge,
        Entity,
        Found,
        Head,
        History,
        Neighbours,
        Record,
        Subscription,
        Telling,
        Version,
        Why,
    )
    from tidegate.store.status import StreamStatus
    from tidegate.store.store import Store

__all__ = [
    "Change", "Changes", "Conflict", "Conflicts", "Edge", "Entity", "Found", "Head", "History",
    "Neighbours", "Record", "Store", "StreamStatus", "Subscription", "Telling", "Version", "Why",
    "open_store",
]  # fmt: skip


def open_store(endpoint: Endpoint) -> Store:
    """Open (and on first use create) the store that *endpoint* leads to."""
    from tidegate.store.store import Store

    return Store(endpoint)


def __getattr__(name: str) -> Any:
    """The other names, imported when they are asked for: they bring SQLAlchemy and Arrow."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = {"Store": "store", "StreamStatus": "status"}.get(name, "reading.answers")
    return getattr(import_module(f"{__name__}.{module}"), name)

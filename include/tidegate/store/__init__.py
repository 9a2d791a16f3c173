"""Where facts live: typed records with history, the knowledge drawn from them, and the ledger.

``engine``     open a database, and say plainly why it cannot be opened
``tables``     every table, once, for SQLite and PostgreSQL
``evolve``     a stream's tables follow its columns, or refuse to
``staging``    Arrow pages into a temporary table, set-wise
``merge``      the versioned upsert: older never overwrites newer
``knowledge``  entities, attributes and relations, projected from the records
``quarantine`` rows held back, with their reasons
``ledger``     streams, watermarks and runs
``loading``    all of these in ONE transaction
``reading``    what may be asked: records, entities, neighbours, why, changes, at any commit
``store``      the store as the rest of the program sees it

>>> from tidegate.store import open_store
>>> with open_store(endpoint) as store:
...     store.entity("Customer", "17850", as_of_seq=12).attributes["country"]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.store.answers import (
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
    from tidegate.store.store import Store, StreamStatus

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
    module = "store" if name in {"Store", "StreamStatus"} else "answers"
    return getattr(import_module(f"{__name__}.{module}"), name)

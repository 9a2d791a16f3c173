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
``store``      the store as the rest of the program sees it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.store.store import Store


def open_store(endpoint: Endpoint) -> Store:
    """Open (and on first use create) the store that *endpoint* leads to."""
    from tidegate.store.store import Store

    return Store(endpoint)

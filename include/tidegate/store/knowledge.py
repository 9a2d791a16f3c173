"""Entities and relations: projected from the records that commit *seq* touched.

Everything here is a function of the live records (neither deleted nor duplicate), so it can be
rebuilt from them.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tidegate.store.mapping import Mapping
from tidegate.store.records import Records


def project(connection: Connection, records: Records, mapping: Mapping, seq: int) -> None:
    """Bring what *mapping* says up to commit *seq* for the records it touched."""

"""What psycopg makes of values outside Python's calendar, and of text that is not UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.sources.rows.fitting import Unread


def guard(driver: Any, types: Sequence[str]) -> None:
    """Wrap the loaders of *types* on this connection: what they cannot read becomes ``Unread``."""
    from psycopg import DataError
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    def guarded(inner: Any) -> type[Loader]:
        class Guarded(Loader):
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._load = inner(oid, context).load

            def load(self, data: Any) -> Any:
                try:
                    value = self._load(data)
                    return value.decode() if isinstance(value, bytes) else value
                except UnicodeDecodeError:
                    return Unread(bytes(data), "not UTF-8")
                except (DataError, ValueError, OverflowError):
                    text = bytes(data).decode()
                    return Unread(text, "infinity" if "infinity" in text else "out of range")

        return Guarded

    for name in types:
        oid = driver.adapters.types[name].oid
        driver.adapters.register_loader(oid, guarded(driver.adapters.get_loader(oid, Format.TEXT)))

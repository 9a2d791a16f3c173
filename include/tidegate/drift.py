"""The columns that a stream agreed on, against those that its table has now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.types import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.job import Job
    from tidegate.sources import Rows
    from tidegate.store.store import Store


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to read, and how.

    columns  of the pages: those read, and those that are gone and kept as NULL
    read     of these, the ones that the source has, with the types to read them as
    reread   whether rows below the watermark must be read again, for a column is new
    notes    in words, what changed
    """

    columns: tuple[Column, ...]
    read: tuple[Column, ...]
    reread: bool = False
    notes: tuple[str, ...] = ()

    def complete(self, page: pa.Table) -> pa.Table:
        """*page* with all of :attr:`columns`, in order, then the bookkeeping."""
        return page


def judge(job: Job, store: Store, source: Rows) -> Verdict:
    """What ``drift:`` says to the columns that *source* has now.

    Raises DriftError when it says to stop.
    """
    del job, store
    columns = tuple(source.columns())
    return Verdict(columns, columns)

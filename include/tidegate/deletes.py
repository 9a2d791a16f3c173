"""Rows that the source no longer has: each is asked for by its key, and a brake holds them all.

A key is missing in a read for many reasons: the row is deleted, or was inserted since, or the
whole table is being restored. So what was not seen is asked for once more, key by key; and when
more would go at once than ``deletes: {brake: 5%}`` allows, nothing goes until a person says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from tidegate.errors import BrakeError
from tidegate.fields import share
from tidegate.job import Job
from tidegate.model import Increment, Mode

if TYPE_CHECKING:
    from tidegate.pipeline.models import Stream
    from tidegate.sources import Source
    from tidegate.store.store import Store

BATCH = 1_000
"""Keys asked for at once."""
_EXAMPLES = 5


def wanted(stream: Stream, increment: Increment) -> bool:
    """Whether what this run has not seen is gone: it read everything, and that was asked for.

    Nothing else tells of the rows that left a table while its log was not read.
    """
    mode = increment.request.mode
    full = mode is Mode.FULL and stream.deletes.full
    unread = mode.advances and increment.low is None and stream.deletions
    return (stream.compares and (full or unread)) or (mode.advances and stream.snapshots)


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """*keys* in lists of at most :data:`BATCH`."""
    rest = iter(keys)
    while some := list(islice(rest, BATCH)):
        yield some


def absent(source: Source, keys: Iterable[str]) -> Iterator[str]:
    """Those of *keys* that *source* does not have when it is asked for them."""
    for some in batches(keys):
        found = {key for page in source.fetch(0, some) for key in page.column("_key").to_pylist()}
        yield from (key for key in some if key not in found)


def gone(
    job: Job, store: Store, source: Source, keys: Iterable[str], allowed: int | None = None
) -> list[str]:
    """Those of *keys* that may become tombstones: the source lacks them, and they are few enough.

    *allowed* is a person's number in the place of ``deletes.brake``. Raises BrakeError with counts
    and examples when there are more, or when the source has no rows at all and nobody allowed that.
    """
    rows = store.size(job.full_name)
    if not rows:
        return []
    brake = job.stream.deletes.brake
    most = int(share(brake, rows)) if allowed is None else allowed
    if allowed is None and source.count() == 0:
        raise _braked(job, rows, rows, "no rows at all are left in the source")
    found: list[str] = []
    count = 0
    for key in absent(source, keys):
        count += 1
        if len(found) <= max(most, _EXAMPLES):
            found.append(key)
    if count <= most:
        return found
    limit = f"deletes: {{brake: {brake}}}" if allowed is None else f"--allow-deletes {allowed}"
    why = f"{limit} allows {most:,}. Some of them: {', '.join(found[:_EXAMPLES])}"
    raise _braked(job, count, rows, why)


def _braked(job: Job, count: int, rows: int, why: str) -> BrakeError:
    dag = f" (in Airflow: trigger {job.source.name}.verify with Allow deletes {count})"
    return BrakeError(
        f"{job.full_name}: {count:,} of the store's {rows:,} rows are gone from the source; {why}. "
        f"None was deleted. If they are gone for good, run: "
        f"tidegate verify {job.full_name} --allow-deletes {count}"
        f"{dag if job.stream.verifies else ''}."
    )

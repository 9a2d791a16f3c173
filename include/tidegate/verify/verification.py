"""One pass over a stream: compare, repair, delete; kept in the store after every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tidegate import deletes, drift, faults
from tidegate.errors import BrakeError, ChangedError, ConfigError
from tidegate.fields import seconds
from tidegate.job import Job
from tidegate.model import Json, Mode, Watermark
from tidegate.verify.chunks import Chunks
from tidegate.verify.look import Comparison, Look, Range
from tidegate.verify.mending import Mender
from tidegate.verify.pages import Pages

if TYPE_CHECKING:
    from tidegate.sources import Source
    from tidegate.store.agreements import Agreement
    from tidegate.store.store import Store
    from tidegate.store.verification import Progress

RESUMED = timedelta(days=7)
"""A verification that began longer ago is not gone on with."""
REST = 3.0
"""Between two parts the source is left alone for so many times what the last one took there."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a verification found; counts of rows.

    verified    everything below *watermark* is as the source has it
    finished    False: it was stopped, and the next one goes on
    compared    with the source; *listed*, of these, key by key
    differing   below the watermark: lost, stale, or gone from the source
    repaired    of these, read again and loaded; *tombstoned*, of these, deleted
    touched     seemed to differ, and did not when they were looked at again
    chunks      parts that the source was asked for
    note        in words, what keeps it from being verified
    """

    stream: str
    watermark: Watermark | None
    verified: bool = False
    finished: bool = False
    compared: int = 0
    listed: int = 0
    differing: int = 0
    repaired: int = 0
    tombstoned: int = 0
    touched: int = 0
    chunks: int = 0
    seconds: float = 0.0
    note: str = ""

    def to_json(self) -> dict[str, Json]:
        """Plain values."""
        cursor = self.watermark.cursor if self.watermark else None
        return {**asdict(self), "watermark": cursor}


def verify(
    job: Job, *, repair: bool | None = None, allow_deletes: int | None = None, again: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Result:  # fmt: skip
    """Compare *job*'s stream with its source, below the watermark; and repair what differs.

    *repair* is by default what the file says, and yes with *allow_deletes*, which takes the place
    of ``deletes.brake`` this once. A verification that was killed or stopped goes on where it was,
    unless *again* says to begin anew, the cursor is another one now, or only one of the two
    repairs. *stop* is asked after each part.

    Raises BrakeError when more rows are gone from the source than may be, FencedError when another
    process went on with this verification, ChangedError when the table's columns are not those that
    the stream was last read with: it has to run first.
    """
    from tidegate.sources import open_source

    began = time.monotonic()
    name = job.full_name
    with job.store() as store, open_source(job.endpoint(), job.stream, name) as source:
        watermark = store.state(name).watermark
        if watermark is None:
            return Result(name, None, finished=True, note="the stream has not run yet")
        if repair is None:
            repair = job.stream.verify.repair or allow_deletes is not None
        agreement = _adopt(job, store, source)
        store.number_keys(name, composite=len(job.stream.primary_key) > 1)
        progress = None if again else _unfinished(store, name, watermark, repair=repair)
        if progress is None:
            progress = store.begin_verification(name, watermark, repair=repair)
        kept = _Pass(job, store, source, progress, agreement).run(allow_deletes, stop)
    return _result(kept, time.monotonic() - began)


def _unfinished(store: Store, name: str, watermark: Watermark, *, repair: bool) -> Progress | None:
    """The one to go on with: as this one, it repairs or does not; and is of the same cursor."""
    since = (datetime.now(UTC) - RESUMED).isoformat(timespec="microseconds")
    kept = store.unfinished(name, since)
    if kept is None or kept.repair != repair or _kind(kept.watermark) != _kind(watermark):
        return None
    return kept


def _kind(watermark: Watermark) -> tuple[str | None, type]:
    return watermark.column, type(watermark.cursor)


def _adopt(job: Job, store: Store, source: Source) -> Agreement | None:
    """Read what all rows were read with: other columns have other hashes. Returns what that is."""
    cursor = job.stream.cursor_column
    low = store.state(job.full_name).watermark
    if cursor and low and low.column not in {None, cursor}:
        raise ConfigError(
            f"{job.full_name}: cursor: the watermark is one of column {low.column!r}. "
            "Run the stream with --full once."
        )
    verdict = drift.judge(job, store, source, Mode.REPAIR)
    if verdict.reread:
        raise ChangedError(
            f"{job.full_name}: not every row was read yet with the columns that it reads now. "
            f"{' '.join((*verdict.notes, 'It has to run before it can be verified.'))}"
        )
    source.adopt(verdict.read)
    return verdict.known


class _Pass:
    """One verification on its way; what it knows is in *progress*."""

    def __init__(
        self, job: Job, store: Store, source: Source, progress: Progress,
        agreement: Agreement | None,
    ) -> None:  # fmt: skip
        self._job = job
        self._store = store
        self._source = source
        self._progress = progress
        self._agreement = agreement
        self._position: dict[str, Json] = dict(progress.position or {})
        self._counts = dict(progress.counts)
        self._ranges: list[Range] = [(a, b) for a, b in self._position.pop("lacking", [])]
        self._pending: dict[str, int | None] = self._position.pop("pending", {})
        run_id = f"verify__{progress.started_at}"
        self._mender = Mender(job, store, source, progress.watermark, run_id)
        self._comparison = self._choose()

    def run(self, allow_deletes: int | None, stop: Callable[[], bool]) -> Progress:
        """Go on until everything is done, or *stop* says so."""
        if self._pending:
            self._settle()
        if not self._position.get("ended"):
            for look in self._comparison.looks(self._position):
                self._deal(look)
                faults.point("verify.chunk")
                if look.position is not None:
                    self._position = look.position
                    self._keep("running")
                if stop():
                    return self._keep("stopped")
                time.sleep(look.seconds * REST)
            self._position = {"ended": True}
            self._keep("running")
        self._delete(allow_deletes)
        left = self._counts["differing"] - self._counts["repaired"] - self._counts["tombstoned"]
        note = f"{left:,} rows differ" if left else None
        return self._keep("done", note)

    def _choose(self) -> Comparison:
        stream = self._job.stream
        if not self._source.chunked():
            return Pages(self._store, self._job.full_name, self._source)
        return Chunks(
            self._store, self._job.full_name, self._source, self._progress.watermark,
            seconds(stream.verify.chunk), composite=len(stream.primary_key) > 1,
        )  # fmt: skip

    def _deal(self, look: Look) -> None:
        """Repair what differs; what the source lacks waits for the end of the pass."""
        self._count(chunks=1, rows_compared=look.rows, rows_listed=look.listed)
        verdict = self._mender.examine(look.suspects)
        if look.suspects:
            self._require_unchanged()
        if look.lacks or verdict.absent:
            self._lack(look.range)
        self._count(touched=verdict.settled + len(verdict.unbound))
        if not self._progress.repair:
            self._count(differing=len(verdict.faults))
            return
        self._mend(verdict.faults)
        for some in deletes.batches(verdict.unbound):
            self._mender.repair(self._mender.hashes(some))

    def _require_unchanged(self) -> None:
        name = self._job.full_name
        if self._source.changed() or self._store.agreement(name) != self._agreement:
            raise ChangedError(f"{name}: the table changed while it was compared. Verify it again.")

    def _delete(self, allowed: int | None) -> None:
        """What the source lacks becomes tombstones, under the brake."""
        if not self._ranges:
            return
        candidates = self._comparison.lacking(self._ranges)
        if not self._progress.repair:
            self._count(differing=sum(1 for _ in deletes.absent(self._source, candidates)))
            return
        try:
            keys = deletes.gone(self._job, self._store, self._source, candidates, allowed)
        except BrakeError as error:
            self._keep("done", str(error))
            raise
        self._mend(keys)

    def _mend(self, keys: list[str]) -> None:
        """Repair *keys*; what is under way is kept, for a repair counts whoever is killed by it."""
        for some in deletes.batches(keys):
            self._pending = self._mender.hashes(some)
            self._keep("running")
            self._count(differing=len(some) - self._settle())

    def _settle(self) -> int:
        """Repair what is pending; returns how many rows differ no longer.

        The others are found again by whoever goes on: the position does not move before that.
        """
        deleting = bool(self._position.get("ended"))
        changed = self._mender.repair(self._pending, deleting=deleting)
        self._pending = {}
        self._count(differing=changed, **{"tombstoned" if deleting else "repaired": changed})
        self._keep("running")
        return changed

    def _lack(self, range: Range) -> None:
        """Note that the source lacks keys in *range*; neighbours become one."""
        if self._ranges and self._ranges[-1][1] == range[0] is not None:
            range = (self._ranges.pop()[0], range[1])
        if range not in self._ranges:
            self._ranges.append(range)

    def _count(self, **more: int) -> None:
        for name, count in more.items():
            self._counts[name] += count

    def _keep(self, state: str, note: str | None = None) -> Progress:
        position = {**self._position, "lacking": self._ranges, "pending": self._pending}
        self._progress = self._store.keep_verification(
            replace(
                self._progress, state=state, position=position, counts=dict(self._counts), note=note
            ),
            verified=state == "done" and note is None,
        )
        return self._progress


def _result(kept: Progress, seconds: float) -> Result:
    counts = {name.removeprefix("rows_"): count for name, count in kept.counts.items()}
    finished = kept.state == "done"
    verified = finished and kept.note is None
    return Result(
        kept.stream, kept.watermark, verified, finished, seconds=round(seconds, 3),
        note=kept.note or "", **counts,
    )  # fmt: skip

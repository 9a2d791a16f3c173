"""The store as the rest of the program sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from weakref import finalize

import pyarrow as pa
from sqlalchemy.engine import Connection

from tidegate.connections import Endpoint
from tidegate.errors import OvertakenError
from tidegate.model import Arrival, Increment, Json, Replay, Report, Watermark, Window
from tidegate.pipeline.models import Keep, Stream
from tidegate.store import (
    agreements,
    arrivals,
    leases,
    ledger,
    quarantine,
    replay,
    retention,
    rows,
    runs,
    servers,
    status,
    upgrade,
)
from tidegate.store import digest as digests
from tidegate.store import engine as engines
from tidegate.store.agreements import Agreement
from tidegate.store.checks import invariants, repair
from tidegate.store.checks.violations import Violation
from tidegate.store.digest import Digest
from tidegate.store.knowledge import derive, mapping
from tidegate.store.knowledge.derive import Step
from tidegate.store.leases import Leases
from tidegate.store.ledger import Activity, StreamState
from tidegate.store.loading import Load, Loader
from tidegate.store.questions import Questions
from tidegate.store.reading.library import Library
from tidegate.store.retention import Moved
from tidegate.store.status import StreamStatus
from tidegate.store.verification import Verifying
from tidegate.types import Column


class Store(Library, Questions, Verifying):
    """A knowledge store. Uses one connection per operation; safe to share between threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._engine = engines.create(endpoint)
        self._closed = finalize(self, self._engine.dispose)
        self._leases = Leases(self._engine)
        with engines.translated(endpoint):
            upgrade.ensure(self._engine, endpoint.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what the store holds; a store that nobody has any more closes itself."""
        self._closed()

    def state(self, stream: str) -> StreamState:
        """Watermark and generation of *stream*."""
        with self._reading() as connection:
            return ledger.state(connection, stream)

    def states(self, streams: Iterable[str], *, memory: bool = False) -> dict[str, StreamState]:
        """The same of several, *memory* if wanted; those never pulled are left out."""
        with self._reading() as connection:
            return ledger.states(connection, streams, memory=memory)

    def activity(self, streams: Iterable[str], since: datetime) -> dict[str, Activity]:
        """When each was read and changed last; see :func:`tidegate.store.ledger.activity`."""
        with self._reading() as connection:
            return ledger.activity(connection, streams, since)

    def agreement(self, stream: str) -> Agreement | None:
        """The columns agreed on; see :mod:`tidegate.store.agreements`."""
        with self._reading() as connection:
            return agreements.find(connection, stream)

    def agree(self, stream: str, fence: int, agreement: Agreement) -> None:
        """Begin to read with other columns. Raises FencedError when another run took over."""
        with self._writing() as connection:
            leases.hold(connection, stream, fence)
            agreements.keep(connection, stream, agreement)

    def lease(self, stream: str, owner: str) -> int:
        """Take the lease of *stream*; see :meth:`tidegate.store.leases.Leases.take`."""
        with engines.translated(self.endpoint):
            return self._leases.take(stream, owner)

    def renew(self, stream: str, fence: int) -> None:
        """The run that has *fence* is alive. Raises FencedError when another took over."""
        with engines.translated(self.endpoint):
            self._leases.renew(stream, fence)

    def release(self, stream: str, fence: int) -> None:
        """Give the lease back, if *fence* is still the one that holds it."""
        with engines.translated(self.endpoint):
            self._leases.release(stream, fence)

    def abandon(self, stream: str, owner: str) -> None:
        """Give back the lease that the run *owner* has: nobody will try it again."""
        with engines.translated(self.endpoint):
            self._leases.abandon(stream, owner)

    def shared(self, server: str) -> tuple[int, Json]:
        """As :meth:`tidegate.sources.Shared.shared`."""
        with self._reading() as connection:
            return servers.known(connection, server)

    def share(self, server: str, generation: int, value: Json) -> bool:
        """As :meth:`tidegate.sources.Shared.share`."""
        with self._writing() as connection:
            return servers.replace(connection, server, generation, value)

    def arrive(self, stream: str, items: Sequence[tuple[str, Json]]) -> int:
        """As :meth:`tidegate.sources.Shared.arrive`."""
        with self._writing() as connection:
            return arrivals.add(connection, stream, items)

    def arrived(self, stream: str, ids: Iterable[str]) -> set[str]:
        """As :meth:`tidegate.sources.Shared.arrived`."""
        with self._reading() as connection:
            return set(arrivals.known(connection, stream, ids))

    def arrivals(
        self, stream: str, after: int = 0, until: int | None = None, size: int = 1000
    ) -> Iterator[Arrival]:
        """As :meth:`tidegate.sources.Shared.arrivals`."""
        with self._reading() as connection:
            end = arrivals.last(connection, stream) if until is None else until
        while after < end:
            with self._reading() as connection:
                found = arrivals.page(connection, stream, after, end, size)
            yield from found
            after = found[-1].number if found else end

    def issue_read(self, stream: str) -> int:
        """The number of a read that begins now; see :func:`tidegate.store.ledger.issue_read`."""
        with self._writing() as connection:
            return ledger.issue_read(connection, stream)

    def load(
        self,
        increment: Increment,
        stream: Stream,
        judged: Callable[[], Increment] | None = None,
    ) -> Report:
        """Load a validated increment; see :mod:`tidegate.store.loading`."""
        todo = Load(increment, stream, judged)
        return Loader(self._engine, self.endpoint, self._leases).load(todo)

    def derive(self, name: str, stream: Stream, rows: int = 20_000) -> Iterator[Step]:
        """Derive what *name* says by another mapping, commit by commit; see :mod:`.derive`."""
        with engines.translated(self.endpoint):
            yield from derive.steps(self._engine, name, stream, rows)

    def verdict(self, name: str, stream: Stream) -> str:
        """What the mapping in force is to the file's: ``current``, ``building``, ``outdated``."""
        with self._reading() as connection:
            return mapping.verdict(connection, mapping.projected(connection, name), stream)

    def touch(self, increment: Increment) -> Watermark | None:
        """Nothing was new: move the watermark alone, unless another run did; returns it.

        Raises FencedError when another run took the stream over.
        """
        with self._writing() as connection:
            leases.hold(connection, increment.request.stream, increment.fence)
            try:
                after = ledger.advance(connection, increment)
                agreements.settle(connection, increment)
                return after
            except OvertakenError:
                return ledger.state(connection, increment.request.stream).watermark

    def digest(self, streams: Iterable[str] | None = None) -> Digest:
        """Equal for two stores exactly when they say the same; of *streams* only, when given."""
        with self._reading() as connection:
            return digests.digest(connection, streams)

    def trim(
        self, stream: str, keep: Keep, now: datetime | None = None, *, dry_run: bool = False
    ) -> Moved:
        """Move what *keep* does not keep into the archive; see :mod:`tidegate.store.retention`."""
        if dry_run:
            with self._reading() as connection:
                return retention.count(connection, stream, keep, now)
        with engines.translated(self.endpoint):
            return retention.move(self._engine, stream, keep, now)

    def verify(
        self, streams: Collection[str] | None = None, sample: int | None = None
    ) -> list[Violation]:
        """What is not as it must be; see :func:`tidegate.store.checks.invariants.check`."""
        with self._reading() as connection:
            return invariants.check(connection, streams, sample)

    def repair(self, violations: Iterable[Violation]) -> list[str]:
        """Repair what :meth:`verify` found; see :func:`tidegate.store.checks.repair.repair`."""
        with engines.translated(self.endpoint):
            return repair.repair(self._engine, violations)

    def held_before(self, stream: str, keys: Iterable[tuple[str, int]]) -> int:
        """How many of *keys* (and source hashes) are in quarantine already, just as they are."""
        with self._reading() as connection:
            return quarantine.held_before(connection, stream, keys)

    def source_columns(self, stream: str) -> list[Column]:
        """The columns that *stream* was last pulled with; none when no run has noted any."""
        with self._reading() as connection:
            return replay.columns(connection, stream)

    def replay(
        self, stream: str, wanted: Replay, columns: list[Column], size: int
    ) -> Iterator[pa.Table]:
        """Rows in quarantine as pages of a pull; see :mod:`tidegate.store.replay`."""
        with self._reading() as connection:
            yield from replay.pages(connection, stream, wanted, columns, size)

    def status(self) -> list[StreamStatus]:
        """Every stream that was ever pulled, by name."""
        with self._reading() as connection:
            return status.streams(connection)

    def held(
        self,
        stream: str | None = None,
        limit: int = 100,
        state: str | None = "held",
        key: str | None = None,
    ) -> list[dict[str, Json]]:
        """Rows in quarantine, newest first, as plain dictionaries; of any *state* when None."""
        with self._reading() as connection:
            return quarantine.listed(connection, stream, limit, state, key)

    def runs(self, stream: str | None = None, limit: int = 100) -> list[dict[str, Json]]:
        """The ledger, newest first."""
        with self._reading() as connection:
            return runs.lines(connection, stream, limit)

    def windows(self, stream: str, run_id: str, fence: int = 0) -> list[Window]:
        """The windows that the run *run_id* has loaded, holding the lease of this *fence*."""
        with self._reading() as connection:
            return runs.windows(connection, stream, run_id, fence)

    def keys(self, stream: str) -> Iterator[tuple[str, int, str]]:
        """``(key, source hash, "record" | "held")`` of everything that the source should have."""
        with self._reading() as connection:
            yield from rows.keys(connection, stream)

    def lookup(self, stream: str, match: str, value: str, values: list[Any]) -> dict[Any, Any]:
        """For each of *values* of column *match* of *stream*: column *value* of its live record."""
        with self._reading() as connection:
            return rows.lookup(connection, stream, match, value, values)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One snapshot: all that is read in it is of the same commit."""
        with engines.translated(self.endpoint), engines.snapshot(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with engines.translated(self.endpoint), self._engine.begin() as connection:
            yield connection

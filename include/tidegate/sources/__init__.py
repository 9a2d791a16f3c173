"""Where rows come from: what every kind of source can do, and how one is opened.

``sql``   MySQL and MariaDB, PostgreSQL, SQLite
``rows``  what kinds share: values → typed pages

Each of the others is a kind (:mod:`tidegate.pipeline.kinds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

from tidegate.errors import ConfigError, TidegateError
from tidegate.model import Arrival, Json, Watermark, Window, repaired, utc_text
from tidegate.pipeline import kinds
from tidegate.types import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.connections import Endpoint
    from tidegate.pipeline.models import Stream

MOST_CHUNKS = 1_000
"""Chunks of one window: Airflow maps a task over at most 1,024 (``max_map_length``)."""
MANY_CHUNKS = 10
"""A first load of more chunks than these is better cut than read in one run."""


@dataclass(frozen=True, slots=True)
class Observation:
    """How far the source is complete, decided before anything is read.

    high         what the watermark may become; None: it stays where it is
    observed_at  the source's own clock, ISO 8601 UTC
    bound        in words: how *high* was computed, and what it waits for
    floor        read from here at the latest, whatever the watermark says: the clock stepped back
    memory       what the source wants to find again at the next run; plain JSON
    anew         the source has begun anew: a full read sets the watermark, though it be smaller
    token        where order tokens are positions of a log: that of what is loaded of it
    """

    high: Watermark | None
    observed_at: str
    bound: str = ""
    floor: Watermark | None = None
    memory: Json = None
    anew: bool = False
    token: int | None = None

    def absent(self, read: int) -> int | None:
        """A log's token for what *read* asks for by key and does not find; None: the read's own."""
        return None if self.token is None else repaired(self.token, read)


class Shared(Protocol):
    """What the store keeps for sources.

    For all streams of one server, what is known of it. For one stream, its *arrivals*: what came
    from where it cannot be asked for again, numbered in the order in which it came.
    """

    def shared(self, server: str) -> tuple[int, Json]:
        """Generation and value of what is known of *server*; ``(0, None)`` at first."""

    def share(self, server: str, generation: int, value: Json) -> bool:
        """Replace it; False, changing nothing, when *generation* is no longer the one kept."""

    def arrive(self, stream: str, items: Sequence[tuple[str, Json]]) -> int:
        """Keep *items* (id, body) for good, each id once; returns the last number given.

        What has arrived may be acknowledged to its sender when this returns.
        """

    def arrived(self, stream: str, ids: Iterable[str]) -> set[str]:
        """Those of *ids* that arrived before."""

    def arrivals(self, stream: str, after: int = 0, until: int | None = None) -> Iterator[Arrival]:
        """Those numbered after < number ≤ until, in order; until the last one when None."""


class Apart:
    """A Shared that nobody else sees, and that ends with the process."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Json]] = {}
        self._arrivals: dict[str, dict[str, Arrival]] = {}

    def shared(self, server: str) -> tuple[int, Json]:
        """As :meth:`Shared.shared`."""
        return self._known.get(server, (0, None))

    def share(self, server: str, generation: int, value: Json) -> bool:
        """As :meth:`Shared.share`."""
        if self.shared(server)[0] != generation:
            return False
        self._known[server] = generation + 1, value
        return True

    def arrive(self, stream: str, items: Sequence[tuple[str, Json]]) -> int:
        """As :meth:`Shared.arrive`."""
        here = self._arrivals.setdefault(stream, {})
        for id, body in items:
            if id not in here:
                here[id] = Arrival(len(here) + 1, id, body, utc_text(datetime.now(UTC)))
        return len(here)

    def arrived(self, stream: str, ids: Iterable[str]) -> set[str]:
        """As :meth:`Shared.arrived`."""
        return set(ids) & self._arrivals.get(stream, {}).keys()

    def arrivals(self, stream: str, after: int = 0, until: int | None = None) -> Iterator[Arrival]:
        """As :meth:`Shared.arrivals`."""
        for one in self._arrivals.get(stream, {}).values():
            if after < one.number and (until is None or one.number <= until):
                yield one


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a range of keys, counted and hashed by the source itself.

    first, until  the range of the key's first column: first ≤ key < until; None: open
    rows, xor     how many, and the XOR of their hashes (signed, 64 bits)
    hot           keys that lie above the asked watermark, and are neither counted nor hashed
    seconds       how long the source took
    """

    first: int | None
    until: int | None
    rows: int
    xor: int
    hot: frozenset[str]
    seconds: float


Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at the source tells before the first run.

    level  ``error``: the stream cannot run; ``warning``: it may miss rows or hurt; ``note``: good
           to know
    what   where it is, what is wrong, with the value
    code   names the kind of finding, see docs/doctor.md
    todo   what to do about it, with the SQL to run
    """

    level: Level
    what: str
    code: str
    todo: str

    @property
    def message(self) -> str:
        """All of it in one text."""
        return f"{self.what} {self.todo}".rstrip()


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look showed of a stream that is watched.

    mark   changes when there is something new: plain JSON; None: there is nothing at all
    until  a watermark that has come this far says that all which was seen is loaded; None: nobody
           can tell
    loaded  whether all of it is, when the store keeps this *memory* of the source (see
            :class:`Observation`); it takes the place of *until*
    """

    mark: Json
    until: Watermark | None = None
    loaded: Callable[[Json], bool] | None = None


class Lookout(Protocol):
    """Looks at watched streams of one connection; whoever has it calls it from one thread a time.

    A kind of source that can be looked at cheaply names what opens one as ``Kind.watch``.
    """

    def look(self, streams: Mapping[str, Stream]) -> Mapping[str, Sight | TidegateError]:
        """What is there now of *streams*, or why this stream alone could not be looked at.

        One short question to the server, however many streams. Raises TidegateError when none
        could be looked at: the server is away, or said no.
        """

    def close(self) -> None:
        """Give the connection back; raises nothing."""


class Rows(Protocol):
    """What a run pulls from. A context manager."""

    def columns(self) -> list[Column]:
        """What there is now; types from ``types:`` or from the source's catalogue."""

    def adopt(self, columns: Sequence[Column]) -> None:
        """Read only these, as these types; names must be among :meth:`columns`."""

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The safe bound. Ask for it BEFORE reading, and read from the old watermark.

        *memory* is that of the observation stored last.
        """

    def came(self, low: Watermark) -> tuple[str, ...]:
        """After :meth:`observe`: in words, why rows may have come below *low*; mostly nothing.

        Raises TrimmedError when what came behind *low* is lost.
        """

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """Pages with data and bookkeeping columns: from *low* on, or one *window*, or all."""

    def fetch(self, read: int, keys: Sequence[str]) -> Iterator[pa.Table]:
        """The rows that have these ``_key`` texts, as :meth:`pull` would give them."""

    def census(self) -> dict[str, int]:
        """After a pull: how many of its rows no cursor reaches, by kind."""

    def memory(self) -> dict[str, Json]:
        """After a pull: what the next observation is to find beside its own ``memory``."""

    def changed(self) -> str | None:
        """What became of the columns since :meth:`columns` was asked first; None: nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Source(Rows, Protocol):
    """One stream of one source; it connects when first asked for something."""

    def scan(
        self, first: int | None = None, until: int | None = None, after: str | None = None
    ) -> Iterator[pa.Table]:
        """Rows in key order, ``_key`` and ``_source_hash`` only; all, or a range as Chunk's.

        Those behind the ``_key`` *after*, where its text tells the source the place; else all.
        """

    def chunked(self) -> bool:
        """Whether :meth:`chunk` can be asked: the source hashes, its keys begin with a number."""

    def chunk(self, first: int | None, rows: int, below: Watermark | None) -> Chunk:
        """The next *rows* rows or so from key *first* on; without what is at or above *below*."""

    def count(self) -> int:
        """How many rows there are now."""

    def check(self) -> list[Finding]:
        """Everything that keeps the stream from running, or may hurt; raises nothing of ours."""


@runtime_checkable
class Cuttable(Protocol):
    """A source that knows where to cut a window into chunks; one that does not reads it whole."""

    def cut(self, window: Window, rows: int) -> list[Window]:
        """*window* as chunks in order, each with its ``rows``; every row of it is in one at least.

        A chunk has about *rows* rows, more where they would be more than :data:`MOST_CHUNKS`.
        """

    def whole(self, high: Watermark) -> Window | None:
        """Every row whose cursor is below *high*, as a window; None: windows cannot say that."""

    def estimate(self) -> int | None:
        """About how many rows such a window has; None: it could not be cut, or nobody knows."""


def open_source(endpoint: Endpoint, stream: Stream, name: str) -> Source:
    """The source behind *endpoint*; *name* (``source.stream``) begins its messages.

    Raises ConfigError when the connection leads to another kind of source.
    """
    kind = kinds.of(stream)
    if endpoint.kind not in kind.connections:
        raise ConfigError(
            f"{name}: '{stream.reads}:' is read through a connection of type "
            f"{' or '.join(kind.connections)}, but connection {endpoint.name!r} is of type "
            f"{endpoint.kind or '(none)'!r}. Name another connection, or change its type."
        )
    source: Source = kind.open(endpoint, stream, name)
    return source

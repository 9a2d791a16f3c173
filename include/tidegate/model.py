"""The records that travel along the path, from source to store. Plain data, no behaviour of ours.

A *page* is an Arrow table of at most some 10,000s of rows. Beside its data columns it carries
four columns of bookkeeping, added by pull and kept by every later step, in the same row order:

``_key``          string   the row's primary key as text; NULL when the source's key is NULL
``_token``        int64    order token: which read saw this version (larger is newer)
``_source_hash``  int64    hash of the row as the source had it, all columns
``_held``         string   NULL, or a JSON list of :class:`Reason` – the row goes to quarantine

and, when it comes from a log that tells of deletions, a fifth:

``_gone``         bool     the row was deleted: it becomes a tombstone whatever its cells say

Steps never drop or reorder rows; they change cells and set ``_held``. Thus row *i* of a cleaned
page is row *i* of the pulled page of the same name, and every pulled row can be accounted for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tidegate.errors import ConfigError

BOOKKEEPING = ("_key", "_token", "_source_hash", "_held")
GONE = "_gone"
PAGE_BITS = 20
"""Bits of an order token that number the page within its read."""
REPAIRS = 32
"""Order tokens that are free behind a position of a log, before those of the changes behind it."""


def repaired(token: int, read: int) -> int:
    """The order token of what *read* finds in a table whose log is loaded up to *token*.

    Newer than what is loaded and, but for every 32nd, than what repairs before it found; older
    than what is still to come from the log.
    """
    return token + 1 + read % REPAIRS


Json = Any
"""What :mod:`json` can write: dict, list, str, int, float, bool, None."""


class Mode(StrEnum):
    """What a run reads. ``window``, ``replay`` and ``repair`` leave the watermark alone."""

    INCREMENT = "increment"
    WINDOW = "window"
    FULL = "full"
    REPLAY = "replay"
    REPAIR = "repair"

    @property
    def advances(self) -> bool:
        """Whether the run says how far the stream is complete."""
        return self in {Mode.INCREMENT, Mode.FULL}


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a stream is complete: every change with a cursor *below* this value is loaded.

    *cursor* is opaque to all but the source: an integer, or ISO text of fixed width, so that
    two watermarks of one stream compare with ``<``. *column* is where it was taken from.
    """

    cursor: int | str
    column: str | None = field(default=None, compare=False)

    def later(self, other: Watermark | None) -> Watermark:
        """The larger of the two: a watermark never moves back, unless it is of another column."""
        if other is None or type(other.cursor) is not type(self.cursor):
            return self
        if None not in {self.column, other.column} and self.column != other.column:
            return self
        return other if other.cursor > self.cursor else self  # type: ignore[operator]


def utc_text(moment: datetime) -> str:
    """ISO 8601 with microseconds; a time without a zone is UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open range of cursor values, as ISO 8601 UTC text: since ≤ cursor < until.

    *rows*: about how many lie in it, where somebody has asked; None: nobody has.
    """

    since: str
    until: str
    rows: int | None = field(default=None, compare=False)

    @classmethod
    def between(cls, since: datetime, until: datetime) -> Window:
        """Times without a zone are UTC; raises ConfigError when nothing lies between."""
        texts = [utc_text(moment) for moment in (since, until)]
        if texts[0] >= texts[1]:
            raise ConfigError(f"the window from {since} until {until} is empty.")
        return cls(texts[0], texts[1])


@dataclass(frozen=True, slots=True)
class Replay:
    """Which rows of the quarantine to try again: all that are held, or fewer.

    keys    only these, as the quarantine shows them
    rule    only rows that broke this one
    since   only rows held at or after this time, ISO 8601 UTC
    mended  also rows of which a newer version is loaded: they become part of the history
    """

    keys: tuple[str, ...] = ()
    rule: str | None = None
    since: str | None = None
    mended: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One run of one stream: what to read, and who asks.

    *run_id* is Airflow's, or one the command line made up; *attempt* counts from 1. *keys*, of a
    repair, are the ``_key`` texts of the rows to read again; *deletes* says that those the source
    does not have become tombstones. *fence* is that of the lease which a larger run holds, when
    this is one of its chunks; 0: none. *most*: a first load of more rows is not to be begun, where
    it could be cut into chunks; None: it is.
    """

    stream: str
    run_id: str
    mode: Mode = Mode.INCREMENT
    window: Window | None = None
    attempt: int = 1
    replay: Replay | None = None
    keys: tuple[str, ...] = ()
    deletes: bool = False
    fence: int = 0
    most: int | None = None

    @property
    def chunk(self) -> bool:
        """Whether it is one of many, and who cut them has looked at the source."""
        return self.window is not None and self.window.rows is not None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row is held: at which *step*, by which *rule*, for which column and value."""

    step: str
    rule: str
    message: str
    column: str | None = None

    def to_json(self) -> dict[str, Json]:
        """The form kept in ``_held`` and in the quarantine table."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What arrived at a stream, kept by the store: *number* orders them, *id* names each once.

    *body* is what the source made of it; None when the store has forgotten it. *at* is when, ISO.
    """

    number: int
    id: str
    body: Json
    at: str


@dataclass(frozen=True, slots=True)
class StagedPage:
    """One Parquet file of an increment."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Check:
    """What validation looked at: one expectation over one increment, for the ledger."""

    expectation: str
    arguments: Mapping[str, Json]
    rows: int
    failed: int


@dataclass(frozen=True, slots=True)
class Increment:
    """The manifest of what one run pulled, as it stands after *step*. No rows, no secrets.

    where       folder (ObjectStoragePath URI) that holds ``manifest.json`` and the pages
    origin      the folder that pull staged: names the pull, keeps the rows as the source had them
    source_columns  the columns as they were pulled; *columns* are those after *step*
    read        number the store issued for this read, the high part of every ``_token`` but
                those of a replay, which keeps them
    low, high   watermark before, and the watermark that holds once this is loaded
    generation  compare-and-set value of the watermark; ignored where the mode moves none
    observed_at source's clock (ISO UTC) when *high* was computed
    cleaned     rows touched by each cleaning step, in order
    fence       number of the lease that this run holds; 0 where the mode needs none
    bound       in words: how *high* was computed, and what it waits for
    memory      what the source wants to find again at the next run; nobody else reads it
    census      rows that no cursor reaches, by kind: ``null``, ``zero``, ``future``
    anew        the source has begun anew: *high* holds, whatever the watermark was
    gone        page of keys (``_key``, ``_token``) that the source no longer has; lies in *origin*
    first       the smallest order token that pull staged; 0: no rows
    renewed     when this run took its lease, or a later step renewed it; seconds since 1970
    """

    request: Request
    step: str
    where: str
    origin: str
    columns: tuple[dict[str, Json], ...]
    pages: Sequence[StagedPage]
    read: int
    generation: int
    low: Watermark | None
    high: Watermark | None
    observed_at: str
    rows: int = 0
    held: int = 0
    cleaned: tuple[tuple[str, int], ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    source_columns: tuple[dict[str, Json], ...] = ()
    fence: int = 0
    bound: str = ""
    memory: Json = None
    census: Mapping[str, int] = field(default_factory=dict)
    gone: StagedPage | None = None
    anew: bool = False
    first: int = 0
    renewed: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to load."""
        return not self.rows and self.gone is None


@dataclass(frozen=True, slots=True)
class Report:
    """What a load did with every pulled row. ``accounted`` must equal ``pulled``."""

    stream: str
    run_id: str
    mode: Mode
    pulled: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    stale: int = 0
    deduplicated: int = 0
    quarantined: int = 0
    watermark: Watermark | None = None
    seq: int | None = None
    repeated: bool = False
    details: Mapping[str, Json] = field(default_factory=dict)

    @property
    def accounted(self) -> int:
        """The right-hand side of the conservation rule."""
        return (
            self.inserted + self.updated + self.deleted + self.unchanged
            + self.stale + self.deduplicated + self.quarantined
        )  # fmt: skip

"""Rows that seem to differ: looked at again, and read again by the ordinary path.

While keys are compared, rows change, and runs load them. So a row differs only if, asked for once
more, the source has it below the watermark, and the store said something else just before and just
after that. What is left is a fault: the store claimed to be complete there, and was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tidegate import deletes, faults, path
from tidegate.errors import ConfigError
from tidegate.job import Job
from tidegate.model import Mode, Request, Watermark

if TYPE_CHECKING:
    from tidegate.sources import Source
    from tidegate.store.store import Store


@dataclass
class Verdict:
    """What became of some keys that seemed to differ.

    faults   they do: below the watermark, or there is no cursor to tell
    unbound  they do, but their cursor is NULL, so the watermark says nothing of them
    absent   the store has them and the source does not
    settled  nothing is wrong with them
    """

    faults: list[str] = field(default_factory=list)
    unbound: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    settled: int = 0


class Mender:
    """Looks again at rows of one stream, and repairs them."""

    def __init__(
        self, job: Job, store: Store, source: Source, below: Watermark, run_id: str
    ) -> None:
        self._job = job
        self._store = store
        self._source = source
        self._below = below
        self._run_id = run_id

    def examine(self, keys: Iterable[str]) -> Verdict:
        """Look again at each of *keys*.

        Raises ConfigError when a cursor is not of the watermark's kind.
        """
        verdict = Verdict()
        for some in deletes.batches(keys):
            before = self.hashes(some)
            rows = self._ask(some)
            after = self.hashes(some)
            for key in some:
                self._judge(verdict, key, before[key], rows.get(key, {}), after[key])
        return verdict

    def hashes(self, keys: list[str]) -> dict[str, int | None]:
        """Of each of *keys*, what the store has."""
        known = self._store.hashes(self._job.full_name, keys)
        return {key: known.get(key) for key in keys}

    def repair(self, before: Mapping[str, int | None], *, deleting: bool = False) -> int:
        """Read the keys of *before* again; of how many the store says something else since then.

        With *deleting*, those that the source does not have become tombstones.
        """
        keys = list(before)
        faults.point("verify.before_repair")
        request = Request(
            self._job.full_name, self._run_id, Mode.REPAIR, keys=tuple(keys), deletes=deleting
        )
        path.run(self._job, request)
        after = self.hashes(keys)
        return sum(before[key] != after[key] for key in keys)

    def _judge(
        self,
        verdict: Verdict,
        key: str,
        before: int | None,
        rows: dict[int, Any],
        after: int | None,
    ) -> None:
        if not rows and after is not None:
            verdict.absent.append(key)
        elif not rows or after in rows or before != after:
            verdict.settled += 1
        elif not self._job.stream.cursor_column:
            verdict.faults.append(key)
        elif (cursor := next(iter(rows.values()))) is None:
            verdict.unbound.append(key)
        elif self._lies_below(cursor):
            verdict.faults.append(key)
        else:
            verdict.settled += 1

    def _ask(self, keys: list[str]) -> dict[str, dict[int, Any]]:
        """Key → hash → cursor, of the source's rows that have one of *keys*."""
        found: dict[str, dict[int, Any]] = {}
        name = self._job.stream.cursor_column
        for page in self._source.fetch(0, keys):
            hashes = page.column("_source_hash").to_pylist()
            cursors = page.column(name).to_pylist() if name else [None] * page.num_rows
            asked = page.column("_key").to_pylist()
            for key, hash_, cursor in zip(asked, hashes, cursors, strict=True):
                found.setdefault(key, {})[hash_] = cursor
        return found

    def _lies_below(self, cursor: Any) -> bool:
        """Whether a row's *cursor*, as pages hold it, is below the watermark.

        Raises ConfigError when the two are not of one kind.
        """
        low = self._below.cursor
        if isinstance(low, int) and isinstance(cursor, int | Decimal):
            return cursor < low
        exact = isinstance(cursor, datetime)
        text = cursor.isoformat(timespec="microseconds") if exact else str(cursor)
        if isinstance(low, str) and isinstance(cursor, date) and len(text) == len(low):
            return text < low
        raise ConfigError(
            f"{self._job.full_name}: cursor: a row has {text!r}, which is not of the watermark's "
            f"kind, {low!r}. Run the stream with --full once."
        )

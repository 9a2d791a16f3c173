"""The columns that a stream agreed on, against those that its table has now.

Agreed are the columns of the last run that moved the watermark. Only such a run may agree to new
ones; the others (windows, repairs) leave them out. Whatever changes in what is read of the table,
every row is read once more: so all rows in the store were read with the same columns, and a new
column is filled for old rows, too.

==========  ==========================================================================
add         ``accept``: read it · ``ask``: go on without it until somebody said yes ·
            ``refuse``: stop; an answer given in the shell counts here, too
drop        ``keep``: NULL from now on, and as it was when it comes back · ``refuse``: stop
rename      is a drop and an add, unless ``renamed:`` says that it is the same column
change      ``widen``: follow a type that holds every value of the old one; go on with the old
            one when that holds every value of the new one; else stop · ``refuse``: stop
==========  ==========================================================================

Columns that the file itself names (keys, cursor, ``types:``) are not asked about, and the types
that it declares are taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from shlex import quote
from typing import TYPE_CHECKING

from tidegate.errors import ChangedError, DriftError
from tidegate.job import Job
from tidegate.model import BOOKKEEPING, GONE, Mode, Request
from tidegate.types import INTEGERS, Agreed, Column, ColumnType, widens

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.pipeline.models import Stream
    from tidegate.sources import Rows
    from tidegate.store.agreements import Agreement
    from tidegate.store.store import Store


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to read, and how.

    agreed  the columns of the pages, in order, and what the table has of them
    reread  whether rows below the watermark must be read again
    notes   in words, what changed
    known   what was agreed on before
    """

    agreed: tuple[Agreed, ...]
    reread: bool = False
    notes: tuple[str, ...] = ()
    known: Agreement | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of the pages: those read, and those that are gone and kept as NULL."""
        return tuple(one.column for one in self.agreed)

    @property
    def read(self) -> tuple[Column, ...]:
        """Of these, the ones that the source has, with the types to read them as."""
        return tuple(one.column for one in self.agreed if one.seen is not None)

    def complete(self, page: pa.Table) -> pa.Table:
        """*page* with all of :attr:`columns`, in order, then the bookkeeping."""
        import pyarrow as pa

        gone = {
            one.column.name: pa.nulls(page.num_rows, one.column.type.arrow)
            for one in self.agreed
            if one.seen is None
        }
        names = [*(column.name for column in self.columns), *BOOKKEEPING]
        names += [GONE] if GONE in page.column_names else []
        return pa.table({name: gone[name] if name in gone else page.column(name) for name in names})


def judge(job: Job, store: Store, source: Rows, mode: Mode, *, first: bool = False) -> Verdict:
    """What ``drift:`` says to the columns that *source* has now.

    A *first* run agrees to what is there, again when it begins again. Raises DriftError when it
    says to stop.
    """
    there = source.columns()
    known = None if mode is Mode.REPLAY else store.agreement(job.full_name)
    if first and mode.advances:
        known = None
    if known is None:  # held rows are tried again as they were
        return Verdict(tuple(Agreed(column, column.type) for column in there))
    questions = store.questions(job.full_name)
    answers = {one.column: one.state for one in questions if one.answered}
    found = _Comparison(job, answers, decides=mode.advances)
    found.compare(known.columns, there)
    if mode.advances:
        open = {one.column: one.type for one in questions if not one.answered}
        if open != {column.name: str(column.type) for column in found.asked}:
            store.ask(job.full_name, found.asked)
    if found.problems:
        raise DriftError(
            f"{job.full_name}: the table's columns are not those agreed on. Nothing was read.\n  "
            + "\n  ".join(found.problems)
        )
    reread = known.pending or _reads(known.columns) != _reads(found.agreed)
    return Verdict(tuple(found.agreed), reread, tuple(found.notes), known)


def begin(store: Store, request: Request, verdict: Verdict, fence: int) -> int:
    """Begin to read with the columns of *verdict*, agreed on from now on; the read's number.

    Raises ChangedError when the run that holds the stream agreed to others meanwhile.
    """
    stream, known = request.stream, verdict.known
    if request.mode.advances:
        from tidegate.store.agreements import Agreement

        wanted = Agreement(verdict.agreed, pending=verdict.reread)
        if wanted != known:
            store.agree(stream, fence, wanted)
    read = store.issue_read(stream)
    if request.mode in {Mode.WINDOW, Mode.REPAIR} and store.agreement(stream) != known:
        raise ChangedError(
            f"{stream}: another run agreed to other columns meanwhile. Run this one again."
        )
    return read


def _reads(agreed: Iterable[Agreed]) -> dict[str, tuple[str, str]]:
    """What is read of the table; the widths of whole numbers change no row."""
    return {
        one.column.name: (_width(one.column.type), _width(one.seen))
        for one in agreed
        if one.seen is not None
    }


def _width(type: ColumnType) -> str:
    return "int" if type.name in INTEGERS else str(type)


class _Comparison:
    """One look at the columns: what is agreed from now on, what is asked, what stops the run."""

    def __init__(self, job: Job, answers: Mapping[str, str], *, decides: bool) -> None:
        self._name = job.full_name
        self._stream = job.stream
        self._policy = job.stream.drift
        self._named = _named(job.stream)
        self._answers = answers
        self._decides = decides
        self.agreed: list[Agreed] = []
        self.asked: list[Column] = []
        self.notes: list[str] = []
        self.problems: list[str] = []

    def compare(self, known: Sequence[Agreed], there: Sequence[Column]) -> None:
        """Go through both; *known* is what was agreed on before."""
        now = {column.name: column for column in there}
        names = {one.column.name for one in known}
        new = [column for column in there if column.name not in names]
        for one in known:
            if (column := now.get(one.column.name)) is not None:
                self._still(one, column)
            elif one.column.name not in self._policy.renamed:  # that one is read by its old name
                self._gone(one, new)
        for column in new:
            self._new(column)

    def _new(self, column: Column) -> None:
        named = column.name in self._named
        answer = self._answers.get(column.name)
        if answer is None and (named or self._policy.add == "accept"):
            answer = "accepted"
        what = f"column {column.name!r} ({column.type}) is new"
        if answer == "accepted" and (named or self._decides):
            self.agreed.append(Agreed(column, column.type))
            self.notes.append(f"{what}: every row is read once more.")
        elif answer is None and self._decides:
            self.asked.append(column)
            words = f"{quote(self._name)} {quote(column.name)}"
            told = self.notes if self._policy.add == "ask" else self.problems
            told.append(
                f"{what}. To read it, run: tidegate drift accept {words}; "
                f"to go on without it: tidegate drift refuse {words}"
            )

    def _gone(self, known: Agreed, new: Sequence[Column]) -> None:
        column = Column(known.column.name, known.column.type)
        if known.seen is None or self._policy.drop == "keep":
            self.agreed.append(Agreed(column, None))
        if known.seen is None:
            return
        what = f"column {column.name!r} ({column.type}) is gone."
        if guess := _guess(column, new):
            renamed = f"{_yaml(guess)}: {_yaml(column.name)}"
            what += f" If it is called {guess!r} now, write drift: {{renamed: {{{renamed}}}}}."
        if self._policy.drop == "keep":
            self.notes.append(f"{what} It stays in the store, NULL from now on.")
        else:
            self.problems.append(f"{what} To go on with NULL instead, write drift: {{drop: keep}}.")

    def _still(self, known: Agreed, now: Column) -> None:
        """The table has it; of another type, perhaps, or again."""
        before, after = known.column.type, now.type
        type = before
        if known.seen is None:
            self.notes.append(f"column {now.name!r} is back: every row is read once more.")
        if after not in (before, known.seen):
            if problem := self._problem(now.name, before, after):
                self.problems.append(problem)
            elif now.name in self._stream.declared or widens(before, after):
                type = after
            self.notes.append(
                f"column {now.name!r} is {after} now, it was {known.seen or before}; "
                f"it is read as {type}."
            )
        self.agreed.append(Agreed(Column(now.name, type, now.nullable), after))

    def _problem(self, name: str, before: ColumnType, after: ColumnType) -> str | None:
        """Why the change of a column's type stops the run; None: it does not."""
        if name in self._stream.declared:  # the file says it itself
            return None
        what = f"column {name!r} was {before} and is {after} now"
        fits = widens(before, after) or widens(after, before)
        if name in {*self._stream.primary_key, self._stream.cursor_column} and not (
            fits and _written_alike(before, after)
        ):
            role = "cursor" if name == self._stream.cursor_column else "primary key"
            return (
                f"{what}, but it is the {role}, and rows are found again by it. Change it back, "
                f"or begin a new stream."
            )
        if not fits:
            return (
                f"{what}, and neither holds every value of the other. Declare types: "
                f"{{{_yaml(name)}: {before}}} to go on as before (rows whose value does not fit "
                f"are held); or types: {{{_yaml(name)}: {after}}}, and convert or rename it in "
                f"clean:, for the store holds {before}; or change it back."
            )
        if self._policy.change == "refuse":
            return f"{what}. To follow, write drift: {{change: widen}}; or change it back."
        return None


def _named(stream: Stream) -> set[str]:
    """The columns that the file itself says it needs."""
    deleted = {stream.deleted.column} if stream.deleted else set()
    cursor = {stream.cursor_column} if stream.cursor_column else set()
    return {*stream.primary_key, *stream.declared} | cursor | deleted


def _written_alike(before: ColumnType, after: ColumnType) -> bool:
    """Whether a value's text is the same in both types: keys and watermarks are texts."""
    if before.name == after.name == "decimal":
        return before.scale == after.scale
    return before.name in INTEGERS and after.name in INTEGERS


def _guess(gone: Column, new: Iterable[Column]) -> str | None:
    """Which of the *new* columns *gone* may be: one of its type, the only one or a near name."""
    names = [column.name for column in new if column.type == gone.type]
    if len(names) == 1:
        return names[0]
    return next(iter(get_close_matches(gone.name, names, 1, 0.5)), None)


def _yaml(name: str) -> str:
    """*name* as one writes it in the pipeline file."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name, ensure_ascii=False)

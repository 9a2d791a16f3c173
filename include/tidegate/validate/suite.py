"""The expectations of one stream, run over an increment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidegate.errors import ConfigError, DataError
from tidegate.model import Check, Reason
from tidegate.pipeline.models import Expectation
from tidegate.types import Column
from tidegate.validate import engine, frames, messages
from tidegate.validate.rule import ACROSS_ROWS, SCHEMA, Rule, bind
from tidegate.validate.ticks import in_ticks

if TYPE_CHECKING:
    import pyarrow as pa

Read = Callable[[list[str] | None], Iterator["pa.Table"]]
"""Yields the pages of an increment, in order, with only the named columns."""
_MANY, _LARGE = 200_000, 32 << 20
"""Rows, or octets of what is looked at, that are judged at once: more pages, if they are small.

Each time costs an expectation 3 ms, however few rows there are.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What validation found.

    held      (page number, row number) → why the row goes to quarantine
    checks    one per expectation, in the order of the pipeline file
    failures  table-level expectations that were not met; any of them must fail the run
    """

    held: dict[tuple[int, int], list[Reason]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Tally:
    """Sums of one expectation over the pages."""

    rows: int = 0
    judged: int = 0
    failed: int = 0


class Suite:
    """Great Expectations for one stream: built once, reused for every page.

    Expectations about single rows are evaluated some pages at a time, uniqueness and order once
    over the increment; rows that fail are held. With ``mostly`` below 1 an expectation is a
    condition on the table instead: when the share of rows that meet it is smaller, the run fails,
    otherwise the rows that fail pass too. Everything else (counts, sums, distinct values, the
    columns themselves) is table-level: a text in ``failures``.

    All expectations see the same rows: those that were not held before validation. NULL is
    judged only by expectations about NULL, as Great Expectations defines it.
    """

    def __init__(
        self, stream_name: str, expectations: Sequence[Expectation], columns: Sequence[Column]
    ) -> None:
        self.stream_name = stream_name
        self.columns = tuple(columns)
        self.rules = tuple(bind(stream_name, item, columns) for item in expectations)
        self._types = {column.name: column.type for column in columns}
        self._ticks = tuple(in_ticks(rule, self._types) for rule in self.rules)

    def verify(self) -> None:
        """Raise ConfigError when an expectation's name, arguments or column types do not fit.

        Imports Great Expectations; looks at no rows but one made up for each expectation.
        """
        for number, rule in enumerate(self.rules):
            if rule.name not in SCHEMA:
                frame = frames.sample(rule, self._types).frame(rule)
                self._evaluate(number, frame, made_up=True)
            else:
                self._expectation(number)

    def check(self, read: Read) -> Outcome:
        """Run every expectation over the pages that *read* yields.

        Raises ConfigError or DataError when an expectation cannot be evaluated.
        """
        outcome = Outcome()
        tallies = [_Tally() for _ in self.rules]
        by_row: list[int] = []
        whole: dict[tuple[str, ...], list[int]] = {}
        for number, rule in enumerate(self.rules):
            expectation = self._expectation(number)
            if rule.name in SCHEMA:
                self._check_schema(number, tallies[number], outcome)
            elif engine.names_rows(expectation) and rule.name not in ACROSS_ROWS:
                by_row.append(number)
            else:
                whole.setdefault(rule.reads, []).append(number)
        along = [columns for columns in whole if not columns]
        along += [columns for columns in whole if columns][:1]
        kept = self._check_pages(by_row, along, tallies, read, outcome)
        for columns, numbers in whole.items():
            tables = kept.pop(columns) if columns in kept else list(read([*columns, "_held"]))
            self._check_whole(numbers, tables, tallies, outcome)
        for rule, tally in zip(self.rules, tallies, strict=True):
            outcome.checks.append(Check(rule.name, rule.given, tally.rows, tally.failed))
        return outcome

    def _check_pages(
        self,
        numbers: list[int],
        along: list[tuple[str, ...]],
        tallies: list[_Tally],
        read: Read,
        outcome: Outcome,
    ) -> dict[tuple[str, ...], list[pa.Table]]:
        """Judge the rows, some pages at once; for each of *along*, its columns of every page."""
        kept: dict[tuple[str, ...], list[pa.Table]] = {columns: [] for columns in along}
        if not numbers and not along:
            return kept
        rules = (self.rules[number].reads for number in numbers)
        needed = dict.fromkeys(name for reads in (*rules, *along) for name in reads)
        for some in _together(read([*needed, "_held"])):
            for columns, tables in kept.items():
                tables += [table.select([*columns, "_held"]) for _, table in some]
            starts, table = _joined(some)
            page = frames.Page(table, self._types)
            if len(page.rows):
                for number in numbers:
                    found = self._judge(number, page, tallies[number])
                    self._hold(number, page, found, starts, outcome)
        for number in numbers:
            self._check_share(number, tallies[number], outcome)
        return kept

    def _check_whole(
        self, numbers: list[int], tables: list[pa.Table], tallies: list[_Tally], outcome: Outcome
    ) -> None:
        if not tables:
            return
        starts, table = _joined([*enumerate(tables)])
        page = frames.Page(table, self._types)
        if not len(page.rows):
            return
        for number in numbers:
            tally = tallies[number]
            if engine.names_rows(self._expectation(number)):
                found = self._judge(number, page, tally)
                self._hold(number, page, found, starts, outcome)
                self._check_share(number, tally, outcome)
            else:
                tally.rows = len(page.rows)
                success, result = self._evaluate(number, page.frame(self.rules[number]))
                self._note(number, success, result, tally, outcome)

    def _check_schema(self, number: int, tally: _Tally, outcome: Outcome) -> None:
        frame = frames.schema([column.name for column in self.columns], self._types)
        success, result = self._evaluate(number, frame)
        self._note(number, success, result, tally, outcome)

    def _note(
        self, number: int, success: bool, result: dict[str, Any], tally: _Tally, outcome: Outcome
    ) -> None:
        if not success:
            tally.failed = 1
            rule = self.rules[number]
            outcome.failures.append(messages.table_failure(self.stream_name, rule, result))

    def _judge(self, number: int, page: frames.Page, tally: _Tally) -> list[int]:
        """Index values of the rows of *page* that fail."""
        rule, ticks = self.rules[number], self._ticks[number]
        frame = page.numbers(ticks) if ticks else None
        if ticks is None or frame is None:
            _, result = self._evaluate(number, page.frame(rule))
        else:
            _, result = self._evaluate(number, frame, ticks)
        found = [int(row) for row in result.get("unexpected_index_list") or ()]
        failed = int(result["unexpected_count"])
        if len(found) != failed:
            raise DataError(
                f"{self._where(number)}: {failed} rows fail, but only {len(found)} are named. "
                "Nothing was held; report this with the expectation."
            )
        tally.rows += len(page.rows)
        tally.judged += int(result["element_count"]) - int(result.get("missing_count") or 0)
        tally.failed += failed
        return found

    def _check_share(self, number: int, tally: _Tally, outcome: Outcome) -> None:
        rule = self.rules[number]
        met = tally.judged - tally.failed
        if rule.mostly < 1 and tally.judged and met / tally.judged < rule.mostly:
            outcome.failures.append(
                messages.share_failure(self.stream_name, rule, tally.judged, tally.failed)
            )

    def _hold(
        self,
        number: int,
        page: frames.Page,
        found: list[int],
        starts: list[tuple[int, int]],
        outcome: Outcome,
    ) -> None:
        """Hold the rows *found*; *starts* are (page number, its first index value)."""
        rule = self.rules[number]
        if rule.mostly < 1 or not found:
            return
        positions = page.index.searchsorted(found).tolist()
        cells = [page.values(name, positions) for name in rule.columns]
        column = rule.columns[0] if len(rule.columns) == 1 else None
        firsts = [first for _, first in starts]
        for place, row in enumerate(found):
            page_number, first = starts[bisect_right(firsts, row) - 1]
            values = {name: cell[place] for name, cell in zip(rule.columns, cells, strict=True)}
            reason = Reason("validate", rule.name, messages.row_message(rule, values), column)
            outcome.held.setdefault((page_number, row - first), []).append(reason)

    def _expectation(self, number: int) -> Any:
        return engine.compiled(self.stream_name, self.rules[number])

    def _evaluate(
        self, number: int, frame: Any, ticks: Rule | None = None, made_up: bool = False
    ) -> tuple[bool, dict[str, Any]]:
        rule = self.rules[number]
        expectation = engine.compiled(self.stream_name, ticks or rule)
        try:
            return engine.evaluate(expectation, frame)
        except engine.EvaluationError as error:
            if made_up or rule.name in SCHEMA:
                raise ConfigError(
                    f"{self._where(number)} cannot be evaluated: {error}. "
                    "Its arguments or the column's type do not fit it."
                ) from error
            self._evaluate(number, frames.sample(rule, self._types).frame(rule), made_up=True)
            raise DataError(
                f"{self._where(number)} cannot be evaluated on these rows "
                f"({error.kind}). Clean the values first, or hold "
                "them with an earlier step."
            ) from None

    def _where(self, number: int) -> str:
        rule = self.rules[number]
        types = ", ".join(f"{name} ({self._types[name]})" for name in rule.columns)
        return f"{self.stream_name}: {rule.name} on {types or 'the table'}"


def _together(pages: Iterator[pa.Table]) -> Iterator[list[tuple[int, pa.Table]]]:
    """Numbered pages, as many as are judged at once."""
    some: list[tuple[int, pa.Table]] = []
    rows = octets = 0
    for number, page in enumerate(pages):
        rows, octets = rows + page.num_rows, octets + page.nbytes
        if some and (rows > _MANY or octets > _LARGE):
            yield some
            some, rows, octets = [], page.num_rows, page.nbytes
        some.append((number, page))
    if some:
        yield some


def _joined(pages: Sequence[tuple[int, pa.Table]]) -> tuple[list[tuple[int, int]], pa.Table]:
    """One table of numbered pages; which of them begins at which of its rows."""
    import pyarrow as pa

    starts, total = [], 0
    for number, page in pages:
        starts.append((number, total))
        total += page.num_rows
    return starts, pa.concat_tables([page for _, page in pages])

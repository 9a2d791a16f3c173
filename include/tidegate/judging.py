"""The details of validation: what is judged, which rows are held, and when too many are."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tidegate import settings, stage
from tidegate.errors import ConfigError, DataError
from tidegate.fields import share
from tidegate.job import Job
from tidegate.model import GONE, Increment, Mode, Reason

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.pipeline.models import SoftDelete
    from tidegate.types import Column
    from tidegate.validate import Outcome, Suite

_log = logging.getLogger(__name__)
_PICKED = {Mode.REPLAY, Mode.REPAIR}
"""Runs that ask for single rows: their number, and the share held, say nothing of the source."""


def judge(job: Job, increment: Increment, stir: Callable[[], None]) -> Outcome:
    """What the stream's expectations say of *increment*; *stir* is called before each page.

    Raises DataError when one fails that is about the rows as a whole, which a repair's are not.
    """
    from tidegate import tombstones
    from tidegate.types import Column
    from tidegate.validate import Suite

    stream = increment.request.stream
    columns = [Column.from_json(column) for column in increment.columns]
    tombstones.require(stream, job.stream.deleted, columns)
    suite = Suite(stream, job.stream.expect, columns)
    outcome = suite.check(lambda names: _stirring(_judged(job, increment, columns, names), stir))
    if increment.request.mode not in _PICKED:
        _keep(suite, outcome)
    if outcome.failures and increment.request.mode is not Mode.REPAIR:
        raise DataError(f"{stream}: nothing was loaded. " + "; ".join(outcome.failures))
    return outcome


def hold(job: Job, increment: Increment, found: Outcome, writer: stage.Writer) -> None:
    """Stage the pages again with the rows held that *found* names, but no tombstone with a key.

    A row that is gone is gone, whatever cleaning could not make of its cells. Where there is
    nothing to hold and no tombstone to be, a page stays as it is.
    """
    from tidegate.types import Column

    columns = [Column.from_json(column) for column in increment.columns]
    rows: dict[int, dict[int, list[Reason]]] = {}
    for (number, row), why in found.held.items():
        rows.setdefault(number, {})[row] = why
    tombstones = job.stream.deleted is not None or job.stream.deletions
    for number, staged in enumerate(increment.pages):
        if number not in rows and not tombstones:
            writer.copy(increment, staged)
            continue
        page = stage.read(increment, staged)
        whole = _hold(page, rows[number]) if number in rows else page
        freed = _freed(whole, job.stream.deleted, columns)
        if freed is page:
            writer.copy(increment, staged)
        else:
            writer.write(freed)


def _freed(page: pa.Table, rule: SoftDelete | None, columns: list[Column]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    from tidegate import tombstones

    texts = page.column("_held")
    if texts.null_count == page.num_rows or (rule is None and GONE not in page.column_names):
        return page
    gone = pc.and_(tombstones.among(page, rule, columns), pc.is_valid(page.column("_key")))
    freed = pc.if_else(gone, pa.scalar(None, pa.string()), texts)
    return _with_held(page, freed)


def _stirring(pages: Iterator[pa.Table], stir: Callable[[], None]) -> Iterator[pa.Table]:
    for page in pages:
        stir()
        yield page


def _judged(
    job: Job, increment: Increment, columns: list[Column], names: list[str] | None
) -> Iterator[pa.Table]:
    """The staged pages as validation sees them: tombstones stand aside as held rows do."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from tidegate import tombstones

    rule, replay = job.stream.deleted, increment.request.mode is Mode.REPLAY
    log = job.stream.deletions and not replay  # what is gone is never held
    if rule is None and not log:
        yield from stage.pages(increment, names)
        return
    more = [*([rule.column] if rule else []), *([GONE] if log else [])]
    wanted = names and list(dict.fromkeys([*names, *more]))
    for page in stage.pages(increment, wanted):
        gone = tombstones.among(page, rule, columns)
        aside = pc.if_else(gone, pa.scalar("tombstone"), page.column("_held"))
        yield _with_held(page, aside)


def _keep(suite: Suite, outcome: Outcome) -> None:
    """Keep the suite and its counts where Data Docs are built from; a run does not fail for them.

    The suite is written when its text changed only; both take about a millisecond.
    """
    if not suite.rules:
        return
    from tidegate.validate.docs import save_outcome, save_suite

    try:
        save_suite(suite, settings.home())
        save_outcome(suite.stream_name, outcome, settings.home())
    except (OSError, ConfigError) as error:
        _log.warning("%s: nothing was kept for Data Docs: %s", suite.stream_name, error)


def _hold(page: pa.Table, found: dict[int, list[Reason]]) -> pa.Table:
    import pyarrow as pa

    from tidegate.clean.page import held_text

    texts = page.column("_held").to_pylist()
    for row, why in found.items():
        texts[row] = held_text(why)
    return _with_held(page, pa.array(texts, pa.string()))


def _with_held(page: pa.Table, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    return page.set_column(page.schema.get_field_index("_held"), "_held", texts)


def _rules(page: pa.Table) -> Iterator[str]:
    import json

    for text in page.column("_held").drop_null().to_pylist():
        for reason in json.loads(text):
            yield f"{reason['column']}: {reason['rule']}" if reason["column"] else reason["rule"]


def stop_above(job: Job, increment: Increment) -> None:
    """Raise DataError when more rows of *increment* are held than the stream allows.

    Rows in quarantine that are tried again as they were are no news: they do not count.
    """
    limit = job.stream.stop_above
    if increment.request.mode in _PICKED:
        return
    if limit is None or increment.held <= share(limit, increment.rows):
        return
    with job.store() as store:
        known = store.held_before(increment.request.stream, _held_rows(increment))
    held, rows = increment.held - known, increment.rows - known
    if held <= share(limit, rows):
        return
    reasons = Counter(rule for page in stage.pages(increment, ["_held"]) for rule in _rules(page))
    most = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    raise DataError(
        f"{increment.request.stream}: {held:,} of {rows:,} rows "
        f"({held / rows:.1%}) are held, more than stop_above: {limit}. "
        f"Nothing was loaded. Most of them: {most}. "
        "Mend the rows or the rule, then run the stream again."
    )


def _held_rows(increment: Increment) -> Iterator[tuple[str, int]]:
    """Quarantine key and source hash of each held row."""
    import pyarrow.compute as pc

    from tidegate.store.quarantine import key_of

    for page in stage.pages(increment, ["_key", "_source_hash", "_held"]):
        held = page.filter(pc.is_valid(page.column("_held")))
        keys, hashes = (held.column(name).to_pylist() for name in ("_key", "_source_hash"))
        yield from zip(map(key_of, keys, hashes), hashes, strict=True)

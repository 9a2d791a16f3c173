"""How far a command is, on standard error: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tidegate import progress
from tidegate.progress import Progress


@contextmanager
def shown(name: str, expected: int | None = None, *, quiet: bool) -> Iterator[None]:
    """Show what is counted meanwhile, of *expected* rows if that is known; nothing if *quiet*."""
    if quiet:
        yield
    elif sys.stderr.isatty():
        with _bar(name, expected):
            yield
    else:
        with progress.told(
            lambda at: print(f"{name}: {at}", file=sys.stderr, flush=True), expected
        ):
            yield


@contextmanager
def _bar(name: str, expected: int | None) -> Iterator[None]:
    """A bar for each step; gone when all is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = [
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f} rows/s"), TimeRemainingColumn(),
    ]  # fmt: skip
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        known = {}

        def tell(at: Progress) -> None:
            if at.step not in known:
                known[at.step] = bars.add_task(f"{name}: {at.step}", total=None, rate=0.0)
            bars.update(known[at.step], completed=at.rows, total=at.expected, rate=at.rate)

        with progress.told(tell, expected, every=0):
            yield

"""Runs in any order, cut off anywhere, tried again, taken over: nothing lost, nothing stale.

A random walk over what can happen to one stream: the source changes, two syncs take their leases or
find them ended, windows are read and come late, loads stop at any point, attempts that nobody
waits for any more go on. After each step, all below the watermark is as the source has it, no
record is older than it was, and the watermark has not moved back.
"""

from __future__ import annotations

import datetime as dt
import os
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import services
from store.increments import Desk
from store.test_loading import table
from store.test_parts import POINTS, Torn, at
from tidegate import faults
from tidegate.errors import BusyError, OvertakenError
from tidegate.model import Increment, Mode, Report, Watermark
from tidegate.store import open_store

WALKS = {"sqlite": 8, "postgres": 3}
TIMES = int(os.environ.get("TIDEGATE_WALKS", "1"))
STEPS = 50
START = dt.datetime.fromisoformat("2026-01-01")


@dataclass
class Walk:
    """One stream, its source and all runs that may still do something."""

    desk: Desk
    chance: random.Random
    patch: pytest.MonkeyPatch
    clock: int = 0
    source: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Key → how often it was written, and when last."""
    loads: list[Increment] = field(default_factory=list)
    shown: dict[str, int] = field(default_factory=dict)
    watermark: str = ""
    happened: Counter[str] = field(default_factory=Counter)

    def step(self) -> None:
        """Let something happen."""
        self.patch.setenv("TIDEGATE_LEASE_SECONDS", self.chance.choice(["100", "100", "0"]))
        what = self.chance.choices([self.write, self.sync, self.window, self.load], [4, 2, 1, 4])[0]
        what()
        self.check()

    def write(self) -> None:
        """Some rows change."""
        for key in self.chance.sample(range(1, 9), self.chance.randint(1, 4)):
            self.clock += 1
            self.source[key] = (self.source.get(key, (0, 0))[0] + 1, self.clock)

    def sync(self) -> None:
        """A run, or another attempt of it, takes the lease and pulls."""
        try:
            fence = self.desk.store.lease(self.desk.name, self.chance.choice(["one", "other"]))
        except BusyError:
            self.happened["busy"] += 1
            return
        state = self.desk.store.state(self.desk.name)
        bound, low = moment(self.clock), str(state.watermark.cursor) if state.watermark else ""
        self._pull(low, generation=state.generation, fence=fence, high=Watermark(bound))

    def window(self) -> None:
        """A window is read; when it will be loaded, nobody knows."""
        self._pull("", request="window", generation=self.chance.randint(0, 1))

    def _pull(self, low: str, request: str = "", **more: Any) -> None:
        store = self.desk.store
        read = store.issue_read(self.desk.name)
        if self.chance.random() < 0.3:
            self.write()
        rows = [
            {"id": key, "customer": "ann", "total": Decimal(count), "updated_at": when(stamp)}
            for key, (count, stamp) in self.source.items()
            if moment(stamp) >= low
        ]
        mode = Mode.WINDOW if request else Mode.INCREMENT
        staged = self.desk.stage(rows, read=read, page_rows=2, mode=mode)
        self.loads.append(replace(staged, **more))

    def load(self) -> None:
        """One of the pulls is loaded, or the beginning of it; it may be loaded again later."""
        if not self.loads:
            return
        increment = self.chance.choice(self.loads)
        point, time = self.chance.choice(POINTS), self.chance.randint(1, 6)
        try:
            with self.patch.context() as patch:
                at(patch, point, time, self._tear)
                report = self._land(increment)
        except Torn:
            self.happened["torn"] += 1
            return
        except OvertakenError as error:
            self.happened[type(error).__name__] += 1
            self.loads.remove(increment)
            return
        self.happened["repeated" if report.repeated else "loaded"] += 1
        if self.chance.random() < 0.7:
            self.loads.remove(increment)

    def _land(self, increment: Increment) -> Report:
        if not increment.rows and increment.request.mode.advances:
            self.desk.store.touch(increment)
            return Report(self.desk.name, "", Mode.INCREMENT)
        report = self.desk.store.load(increment, self.desk.stream)
        assert report.accounted == report.pulled == increment.rows
        return report

    def _tear(self) -> None:
        raise Torn

    def check(self) -> None:
        """What must hold after every step."""
        state = self.desk.store.state(self.desk.name)
        reached = str(state.watermark.cursor) if state.watermark else ""
        assert reached >= self.watermark, "the watermark moved back"
        self.watermark = reached
        there = {key: int(Decimal(total)) for key, total in self._totals()}
        for key, count in self.shown.items():
            assert there[key] >= count, f"{key} is older than it was"
        self.shown = there
        for number, (count, stamp) in self.source.items():
            if moment(stamp) < reached:
                assert there.get(str(number)) == count, f"{number} is below the watermark"

    def _totals(self) -> list[tuple[Any, ...]]:
        if not self.desk.store.runs():
            return []
        return table(self.desk, "shop__orders", "_key, total")

    def finish(self) -> None:
        """Whatever happened: one more run, and the store is what the source is."""
        self.patch.setenv("TIDEGATE_LEASE_SECONDS", "0")
        self.clock += 1
        self.loads.clear()
        while not self.loads:  # until the one asks that has the lease, if one has
            self.sync()
        self.patch.setattr(faults, "point", lambda name: None)
        self._land(self.loads[-1])
        self.check()
        assert self.shown == {str(key): count for key, (count, _) in self.source.items()}
        assert self.desk.store.verify() == []


def when(clock: int) -> dt.datetime:
    return START + dt.timedelta(seconds=clock)


def moment(clock: int) -> str:
    """As a watermark says it."""
    return when(clock).isoformat(timespec="microseconds")


@pytest.mark.parametrize("database", WALKS)
def test_whatever_happens_nothing_is_lost_and_nothing_is_stale(
    database: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    server: services.Server = request.getfixturevalue(database)
    happened: Counter[str] = Counter()
    for seed in range(WALKS[database] * TIMES):
        with open_store(server.fresh()) as store, monkeypatch.context() as patch:
            walk = Walk(Desk(store, tmp_path / str(seed)), random.Random(seed), patch)
            walk.write()
            for _ in range(STEPS):
                walk.step()
            walk.finish()
            happened += walk.happened
    assert {"busy", "torn", "FencedError", "loaded", "repeated"} <= happened.keys(), happened

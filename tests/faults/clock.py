"""F9: the source's clock jumps, by libfaketime in a MariaDB of its own."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import services
from faults.runs import Run
from faults.world import UnableError, World

LIBRARY = "libfaketimeMT.so.1"
PLACES = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime")
STEPS = (-90.0, 90.0, -7200.0, 7200.0)


class Faked:
    """The offset of a server's clock, in a file that the library reads again and again."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """From now on the clock is so many seconds ahead."""
        part = self.file.with_suffix(".part")
        part.write_text(f"{seconds:+.3f}\n")
        part.chmod(0o644)
        part.rename(self.file)


def faked(key: str, folder: Path) -> services.Server:
    """A MariaDB whose clock obeys the file ``clock`` in *folder*."""
    places = [os.environ.get("TIDEGATE_FAKETIME", ""), *(f"{one}/{LIBRARY}" for one in PLACES)]
    library = next((place for place in places if place and Path(place).is_file()), None)
    if library is None:
        raise UnableError(
            "libfaketime is not installed. Run: make services; or name the library in "
            "TIDEGATE_FAKETIME"
        )
    folder.chmod(0o755)
    clock = Faked(folder / "clock")
    return services.start(
        "mariadb",
        private=True,
        environment={
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(clock.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )  # fmt: skip


def step(world: World) -> float | None:
    """It jumps before or in the middle of a run, and mostly back again; or it drifts."""
    clock = Faked(world.servers.folder / "clock")
    by = (*STEPS, 0.0)[world.seed % 5]
    if not by:
        world.variant = "drift"
        return _drift(world, clock)
    world.variant = f"{by:+.0f} s"
    try:
        run = _jump(world, clock, by)
        seconds = world.recover(run)
        world.writers.wait(world.chance.uniform(0.1, 1.0))
        if world.chance.random() < 0.7:
            run = _jump(world, clock, 0.0)
            seconds = max(seconds, world.recover(run))
            world.writers.wait(world.chance.uniform(0.1, 1.0))
    finally:
        clock.set(0.0)
    world.recover()
    return seconds


def _jump(world: World, clock: Faked, seconds: float) -> Run | None:
    """Set the clock while nothing runs, or between a run's look at it and its reading."""
    if world.chance.random() < 0.5:
        clock.set(seconds)
        return None
    point = world.chance.choice(["pull.leased", "pull.observed", "pull.read"])
    run = world.start(fault=f"{point}:stop")
    if run.until_stopped():
        clock.set(seconds)
        run.go_on()
    world.complain_unless(run.wait(), "ok", "retry", "skipped")
    return run


def _drift(world: World, clock: Faked) -> float:
    """A fifth of a second each half second, forth and back."""
    over = threading.Event()

    def turn() -> None:
        offset, sign = 0.0, 1.0
        while not over.wait(0.05):
            offset += sign * 0.02
            sign = -sign if abs(offset) > 0.5 else sign
            clock.set(offset)

    thread = threading.Thread(target=turn)
    thread.start()
    longest = 0.0
    try:
        for _ in range(4):
            longest = max(longest, world.recover())
            world.writers.wait(0.3)
    finally:
        over.set()
        thread.join()
        clock.set(0.0)
    return longest

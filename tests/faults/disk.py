"""F8: a disk without room, played by a small tmpfs; to mount one takes root."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import services
from faults.world import UnableError, World

SIZE = 24 << 20


def small_disk(key: str, folder: Path) -> services.Server:
    """SQLite files on a disk of 24 MiB."""
    return Disk(folder)


class Disk(services.Files):
    """A small disk, mounted until it is closed."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            raise UnableError("mounting a small disk takes root")
        self.place = folder / f"disk-{time.time_ns():x}"
        self.place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UnableError(f"no small disk can be mounted: {done.stderr.strip()}")
        super().__init__(self.place)

    def fill(self, left: int) -> None:
        """Leave *left* octets free."""
        state = os.statvfs(self.place)
        free = state.f_bavail * state.f_frsize
        with (self.place / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - left, 1))

    def empty(self) -> None:
        """Make room again."""
        (self.place / "ballast").unlink()

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "--lazy", str(self.place)], check=False)


def store(world: World) -> float | None:
    """No room for the store's file, or for its log."""
    disk = world.servers.known[world.store_kind]
    if not isinstance(disk, Disk):
        raise TypeError("the store is not on a small disk")
    world.variant = "store"
    return _without_room(world, disk, world.chance.randint(0, 120_000))


def stage(world: World) -> float | None:
    """No room for what is staged between the steps."""
    world.variant = "stage"
    disk = Disk(world.home)
    world.environment["TIDEGATE_STAGE"] = f"file://{disk.place}/stage"
    try:
        return _without_room(world, disk, world.chance.randint(0, 60_000))
    finally:
        disk.close()
        del world.environment["TIDEGATE_STAGE"]


def _without_room(world: World, disk: Disk, left: int) -> float | None:
    disk.fill(left)
    try:
        runs = [world.start(whole=world.chance.random() < 0.5)]
        world.complain_unless(runs[0].wait(), "ok", "retry")
        runs.append(world.start())
        world.complain_unless(runs[1].wait(), "ok", "retry", "skipped")
    finally:
        disk.empty()
    seconds = world.recover(world.chance.choice(runs))
    return seconds if any(run.wait().word == "retry" for run in runs) else None

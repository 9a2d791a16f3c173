"""The stage does not grow for ever: what no run writes to any more is removed after some days."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from tidegate import objects, settings


def sweep(days: float | None = None) -> int:
    """Remove the folders of runs last written more than *days* ago; returns how many."""
    root = objects.path(settings.stage_root())
    if not root.exists():
        return 0
    limit = time.time() - (settings.stage_days() if days is None else days) * 86_400
    removed = 0
    for stream in root.iterdir():
        for run in stream.iterdir() if stream.is_dir() else ():
            newest = max(_modified(file) for file in [run, *run.rglob("*")])
            if newest < limit:
                run.fs.rm(run.path, recursive=True)
                removed += 1
    return removed


def _modified(file: Any) -> float:
    """When *file* was last written; now, where the file system cannot tell: better kept."""
    try:
        if seconds := getattr(file.stat(), "st_mtime", None):
            return float(seconds)
        if file.is_dir():
            return 0.0
        moment: datetime = file.fs.modified(file.path)
    except FileNotFoundError:
        return 0.0
    except NotImplementedError:
        return time.time()
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

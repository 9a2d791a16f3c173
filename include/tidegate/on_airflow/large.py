"""A large first load: the sync DAG leaves it to the backfill DAG, which reads it in chunks.

Large is what would be more than :data:`tidegate.sources.MANY_CHUNKS` chunks. An event of an asset
starts the backfill DAG. It is a wish: it may come twice, or too late, and is lost while that DAG is
paused; so the next sync that still finds nothing loaded tells it again.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from airflow.sdk import Asset, AssetAlias, get_current_context

from tidegate.errors import LargeLoadError
from tidegate.job import Job
from tidegate.model import Mode, Request

NEWS = AssetAlias("tidegate.large.news")
"""The outlet of pulls, which seldom find a first load to be a large one."""
_log = logging.getLogger(__name__)


def asset(job: Job) -> Asset | None:
    """What the backfill DAG of *job* runs for, beside being triggered; None: it cuts nothing."""
    stream = job.stream
    cut = stream.has_windows and stream.backfill.by in {None, stream.cursor_column}
    return Asset(f"{job.full_name}.large") if cut else None


def limited(job: Job, request: Request) -> Request:
    """*request*, to be refused with LargeLoadError if it turns out to be a large first load."""
    from tidegate.sources import MANY_CHUNKS

    if request.mode is not Mode.INCREMENT or asset(job) is None:
        return request
    return replace(request, most=MANY_CHUNKS * job.stream.backfill.chunk_rows)


def left(job: Job, found: LargeLoadError) -> bool:
    """Start the backfill DAG; False when that would not run."""
    context: Any = get_current_context()
    name, wanted = f"{job.full_name}.backfill", asset(job)
    if wanted is None or context["ti"].get_dag(name).is_paused:
        _log.warning(
            "%s They are read in one run, which begins anew when it is interrupted: %s is paused, "
            "which would read them in chunks.", found, name,
        )  # fmt: skip
        return False
    context["outlet_events"][NEWS].add(wanted)
    _log.info("%s %s reads them, in chunks.", found, name)
    return True


def still_wanted(job: Job) -> bool:
    """Whether nothing is loaded yet, though an event came."""
    with job.store() as store:
        return store.state(job.full_name).watermark is None

"""The backfill DAG: a window is split into chunks, and each goes down the path as a run of its own.

A chunk is one index of a mapped task group: as many run at once as the source's pool has slots, and
what fails or is killed is tried again, or cleared, by itself. An empty one skips its rest.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from typing import Any

from airflow.sdk import Asset, get_current_context, task, task_group

from tidegate import describe
from tidegate.job import Job
from tidegate.model import Window
from tidegate.on_airflow import derivation, large, questions, steps
from tidegate.on_airflow.outputs import WHOLE

BEGUN = "begun"
"""The key of the XCom that says where a first load, or a whole reading, was staged."""
_log = logging.getLogger(__name__)


def declare(job: Job) -> None:
    """Split → for each chunk: pull → clean → validate → load → done."""
    asset = Asset(job.full_name)

    @task
    def split() -> list[dict[str, Any]]:
        """Cut the window into chunks."""
        return _split(job)

    @task(  # type: ignore[untyped-decorator]
        map_index_template="{{ task.op_kwargs.window.name }}",
        inlets=[asset],
        outlets=[questions.NEWS, derivation.NEWS],
        **WHOLE,
    )
    def pull(window: dict[str, Any]) -> dict[str, Any]:
        """Read the chunk, and stage it."""
        return _pull(job, asset, window)

    @task_group  # type: ignore[untyped-decorator]
    def chunk(window: dict[str, Any]) -> Any:
        """A part of the window."""
        name = "{{ task.op_kwargs.staged.window }}"
        return steps.behind(job, asset, pull(window=window), name)

    @task(trigger_rule="none_failed", inlets=[asset], **WHOLE)  # type: ignore[untyped-decorator]
    def done(loaded: Any) -> dict[str, Any]:
        """What all chunks did together."""
        return _done(job, asset, loaded)

    done(chunk.expand(window=split()))


def _split(job: Job) -> list[dict[str, Any]]:
    """The chunks of the run's interval; of everything, where it has none."""
    from airflow.sdk.exceptions import AirflowSkipException

    from tidegate import backfill

    context: Any = get_current_context()
    if context["triggering_asset_events"] and not large.still_wanted(job):
        raise AirflowSkipException(f"{job.full_name}: was loaded meanwhile.")
    run, request = context["dag_run"], steps.asked(job)
    since, until = run.data_interval_start, run.data_interval_end
    if since is not None and until is not None and since < until:
        window = Window.between(since, until)
    else:
        with steps.skipping():
            head, window = backfill.begin(job, request)
        request = head.request
        context["ti"].xcom_push(BEGUN, head.where)
    chunks = backfill.chunks(job, [window])
    _log.info("%s: %s chunks of %s", job.full_name, len(chunks), describe.window(window))
    return [
        {**asdict(chunk), "fence": request.fence, "name": describe.window(chunk)}
        for chunk in chunks
    ]


def _pull(job: Job, asset: Asset, window: dict[str, Any]) -> dict[str, Any]:
    from airflow.sdk.exceptions import AirflowSkipException

    from tidegate import backfill

    chunk, fence = Window(window["since"], window["until"], window["rows"]), window["fence"]
    request = backfill.part(replace(steps.asked(job), fence=fence), chunk)
    brief = steps.pulling(job, asset, request)
    if not brief["rows"] and not fence:
        raise AirflowSkipException(f"{job.full_name}: no rows in {window['name']}")
    return brief


def _done(job: Job, asset: Asset, loaded: Any) -> dict[str, Any]:
    """The sums; and when everything was read, the watermark."""
    from tidegate import backfill, stage
    from tidegate.store.tables import COUNTS

    # Of a single chunk Airflow hands over its value, and no list of one.
    reports: list[dict[str, Any]] = [loaded] if isinstance(loaded, dict) else [*(loaded or ())]
    counts = {name: sum(report[name] for report in reports) for name in COUNTS}
    _log.info("%s: %s chunks loaded: %s", job.full_name, len(reports), counts)
    context: Any = get_current_context()
    if where := context["ti"].xcom_pull(task_ids="split", key=BEGUN):
        with steps.skipping():
            steps.mirror(asset, backfill.finish(job, stage.load_manifest(where)), None)
    return {"stream": job.full_name, "chunks": len(reports), **counts}

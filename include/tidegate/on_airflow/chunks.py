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
from tidegate.errors import ConfigError
from tidegate.job import Job
from tidegate.model import Mode, Window
from tidegate.on_airflow import derivation, questions, steps

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
    )
    def pull(window: dict[str, Any]) -> dict[str, Any]:
        """Read the chunk, and stage it."""
        return _pull(job, asset, window)

    @task_group  # type: ignore[untyped-decorator]
    def chunk(window: dict[str, Any]) -> Any:
        """A part of the window."""
        name = "{{ task.op_kwargs.staged.window }}"
        return steps.behind(job, asset, pull(window=window), name)

    @task(trigger_rule="none_failed")  # type: ignore[untyped-decorator]
    def done(loaded: Any) -> dict[str, Any]:
        """What all chunks did together."""
        return _done(job, loaded)

    done(chunk.expand(window=split()))


def _split(job: Job) -> list[dict[str, Any]]:
    from tidegate import backfill

    context: Any = get_current_context()
    run = context["dag_run"]
    since, until = run.data_interval_start, run.data_interval_end
    if since is None or until is None or since == until:
        raise ConfigError(
            f"{run.dag_id}: this run has no data interval. Use Trigger → Backfill, or trigger "
            f"{job.full_name} with mode 'window'."
        )
    chunks = backfill.chunks(job, [Window.between(since, until)])
    _log.info("%s: %s chunks", job.full_name, len(chunks))
    return [{**asdict(chunk), "name": describe.window(chunk)} for chunk in chunks]


def _pull(job: Job, asset: Asset, window: dict[str, Any]) -> dict[str, Any]:
    from airflow.sdk.exceptions import AirflowSkipException

    chunk = Window(window["since"], window["until"], window["rows"])
    request = replace(steps.asked(job), mode=Mode.WINDOW, window=chunk)
    brief = steps.pulling(job, asset, request)
    if not brief["rows"]:
        raise AirflowSkipException(f"{job.full_name}: no rows in {window['name']}")
    return brief


def _done(job: Job, loaded: Any) -> dict[str, Any]:
    """The sums, for whoever looks at the run."""
    from tidegate.store.tables import COUNTS

    reports: list[dict[str, Any]] = [*(loaded or ())]
    counts = {name: sum(report[name] for report in reports) for name in COUNTS}
    _log.info("%s: %s chunks loaded: %s", job.full_name, len(reports), counts)
    return {"stream": job.full_name, "chunks": len(reports), **counts}

"""Which DAGs the pipeline files become, and what those look like in Airflow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk import (
    DAG,
    AssetOrTimeSchedule,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DeltaTriggerTimetable,
    task,
)

from tidegate import describe, settings
from tidegate.errors import ConfigError
from tidegate.fields import duration, span
from tidegate.job import Job
from tidegate.model import Mode
from tidegate.on_airflow import chunks, doctor, large, proof, steps, upkeep, watchers
from tidegate.on_airflow.access import connection
from tidegate.on_airflow.forms import field
from tidegate.on_airflow.retries import RETRIES
from tidegate.pipeline.models import Source, Stream
from tidegate.pipeline.reader import PipelineFile, read_all

_MOMENT: Any = {"type": ["null", "string"], "format": "date-time", "section": "Window"}
INTERVALS = {"hour": "0 * * * *", "day": "0 0 * * *", "week": "0 0 * * 1", "month": "0 0 1 * *"}


def build_dags(folder: Path | None = None, only: str | None = None) -> dict[str, DAG]:
    """Every DAG that the pipeline files in *folder* declare, by DAG id; or this one *only*.

    A task's process needs no DAG but its own, and would make all the others each time.
    """
    dags = upkeep.build() if only is None or only.startswith("tidegate.") else []
    for file in read_all(folder or settings.pipelines()):
        dags += [make() for name, make in _of_file(file) if only in {None, name}]
    return {dag.dag_id: dag for dag in dags}


def _of_file(file: PipelineFile) -> Iterator[tuple[str, Callable[[], DAG]]]:
    """The ids of a file's DAGs, and what makes them."""
    for name, error in file.broken.items():
        full_name = name if file.source is None else f"{file.name}.{name}"
        full_name = re.sub(r"[^\w.-]", "_", full_name)
        yield full_name, partial(_broken, full_name, error)
    if file.source is None:
        return
    for name, stream in file.streams.items():
        job = Job(file.source, name, stream, connection)
        yield job.full_name, partial(_sync, job)
        if stream.has_windows:
            yield f"{job.full_name}.backfill", partial(_backfill, job)
    if file.streams:
        yield f"{file.name}.doctor", partial(doctor.dag, file.source, file.streams)
    if any(stream.verifies for stream in file.streams.values()):
        yield f"{file.name}.verify", partial(proof.dag, file.source, file.streams)


def _modes(stream: Stream) -> list[str]:
    """What a person may ask for; a repair's keys are what a verification found."""
    unasked = {Mode.REPAIR} if stream.has_windows else {Mode.REPAIR, Mode.WINDOW}
    return [str(mode) for mode in Mode if mode not in unasked]


def _sync(job: Job) -> DAG:
    stream = job.stream
    with DAG(
        job.full_name,
        schedule=_schedule(job),
        params={
            "mode": field(
                "increment", type="string", enum=_modes(stream), title="What to read",
                description_md="**increment**: what is new since the watermark. **window**: cursor "
                "values in [from, until). **full**: everything, from the first row. **replay**: "
                "not the source, but the rows in quarantine once more.",
            ),
            "from": field(None, title="From", **_MOMENT),
            "until": field(None, title="Until (not included)", **_MOMENT),
            "rule": field(
                None, type=["null", "string"], title="Rule", section="Replay",
                description="Only rows that broke this rule",
            ),
            "keys": field(
                None, type=["null", "array"], items={"type": "string"}, title="Keys",
                section="Replay", description="Only these rows, a primary key in each line",
            ),
        },
        doc_md=describe.stream(job.source, job.name, stream),
        allowed_run_types=["scheduled", "manual", "asset_triggered"],
        **_common(job.source, stream, "sync"),
    ) as dag:  # fmt: skip
        steps.declare(job)
    return dag


def _schedule(job: Job) -> Any:
    """The clock's; of a watched or paced stream, also the watcher's."""
    text = job.stream.schedule
    if adapts := span(text):
        clock = DeltaTriggerTimetable(timedelta(seconds=adapts.most))
    elif " " in text.strip():
        clock = CronTriggerTimetable(text, timezone="UTC")
    else:
        clock = DeltaTriggerTimetable(duration(text))
    asset = watchers.asset(job)
    return AssetOrTimeSchedule(assets=[asset], timetable=clock) if asset else clock


def _backfill(job: Job) -> DAG:
    since = datetime.fromisoformat(job.stream.backfill.since).replace(tzinfo=UTC)
    common = _common(job.source, job.stream, "backfill")
    common["default_args"]["weight_rule"] = "upstream"  # load a chunk before the next is pulled
    schedule: Any = CronDataIntervalTimetable(INTERVALS[job.stream.backfill.every], timezone="UTC")
    if wanted := large.asset(job):
        schedule = AssetOrTimeSchedule(assets=[wanted], timetable=schedule)
    with DAG(
        f"{job.full_name}.backfill",
        schedule=schedule,
        end_date=since - timedelta(days=1),  # the clock alone never runs it
        is_paused_upon_creation=False,
        doc_md=describe.backfill(job.source, job.name, job.stream),
        **{**common, "start_date": since},
    ) as dag:
        chunks.declare(job)
    return dag


def _common(source: Source, stream: Stream, kind: str) -> dict[str, Any]:
    """What both DAGs of a stream share. Nothing here may change from one parse to the next."""
    return {
        "start_date": datetime(2020, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "tags": {"tidegate", source.name, kind, *stream.tags},
        "description": stream.description or f"{stream.what} of {source.connection}",
        "default_args": {
            "owner": stream.owner,
            "pool": source.pool or "default_pool",
            "retries": stream.retries,
            "retry_policy": RETRIES,
            "retry_delay": duration(stream.retry_delay),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": duration(stream.max_retry_delay),
            "execution_timeout": duration(stream.execution_timeout),
        },
    }


def _broken(full_name: str, error: ConfigError) -> DAG:
    """A stream that cannot run, shown where people look for it."""
    with DAG(
        full_name,
        schedule=None,
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        tags={"tidegate", "broken"},
        description="broken: see its documentation",
        doc_md=describe.broken(full_name, str(error)),
    ) as dag:

        @task
        def explain() -> None:
            raise ConfigError(str(error))

        explain()
    return dag

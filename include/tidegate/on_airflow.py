"""THE ONLY MODULE THAT IMPORTS AIRFLOW: pipeline files become DAGs.

Each stream becomes two DAGs. ``shop.orders`` runs on its schedule; the schedule says *when*, the
watermark says *what*. ``shop.orders.backfill`` is never scheduled; Airflow's own backfill (UI, CLI,
REST) makes one run per interval, which reads that window and leaves the watermark alone. A stream
or file that is wrong becomes a DAG tagged ``broken`` that shows its message.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import (
    DAG,
    Asset,
    BaseOperatorLink,
    CronDataIntervalTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    get_current_context,
    task,
)

from tidegate import describe, settings
from tidegate.errors import ConfigError, OvertakenError, UndefinedConnectionError
from tidegate.fields import duration
from tidegate.model import Increment, Mode, Request, Watermark, Window
from tidegate.path import Job
from tidegate.pipeline.models import Source, Stream
from tidegate.pipeline.reader import PipelineFile, read_all

if TYPE_CHECKING:
    from tidegate.connections import Endpoint

RETRIES = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception="tidegate.errors.UnavailableError", action=RetryAction.RETRY),
        RetryRule(exception="tidegate.errors.TidegateError", action=RetryAction.FAIL),
    ]
)
_MOMENT: Any = {"type": ["null", "string"], "format": "date-time", "section": "Window"}
INTERVALS = {"hour": "0 * * * *", "day": "0 0 * * *", "week": "0 0 * * 1", "month": "0 0 1 * *"}


def build_dags(folder: Path | None = None) -> dict[str, DAG]:
    """Every DAG that the pipeline files in *folder* declare, by DAG id."""
    dags: list[DAG] = [_housekeeping()]
    for file in read_all(folder or settings.pipelines()):
        dags += _of_file(file)
    return {dag.dag_id: dag for dag in dags}


def connection(name: str) -> Endpoint:
    """Resolve an Airflow connection, and have Airflow mask every spelling of its secrets."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.sdk.log import mask_secret

    from tidegate.connections import build

    try:
        found = Connection.get(name)
    except AirflowNotFoundException as error:
        raise UndefinedConnectionError(
            f"connection {name!r} is not defined. Add it in Airflow: Admin, Connections."
        ) from error
    endpoint = build(
        name, found.conn_type or "", found.host, found.port, found.login, found.password,
        found.schema, found.extra_dejson,
    )  # fmt: skip
    for secret in endpoint.secrets():
        mask_secret(secret)
    return endpoint


def _of_file(file: PipelineFile) -> list[DAG]:
    dags = [_broken(name, file, error) for name, error in file.broken.items()]
    if file.source is None:
        return dags
    for name, stream in file.streams.items():
        job = Job(file.source, name, stream, connection)
        dags += [_sync(job), _backfill(job)]
    return dags


def _sync(job: Job) -> DAG:
    stream = job.stream
    schedule: Any = stream.schedule if " " in stream.schedule.strip() else duration(stream.schedule)
    with DAG(
        job.full_name,
        schedule=schedule,
        params={
            "mode": Param(
                "increment", type="string", enum=[str(mode) for mode in Mode], title="What to read",
                description_md="**increment**: what is new since the watermark. **window**: cursor "
                "values in [from, until). **full**: everything, from the first row.",
            ),
            "from": Param(None, title="From", **_MOMENT),
            "until": Param(None, title="Until (not included)", **_MOMENT),
        },
        doc_md=describe.stream(job.source, job.name, stream),
        allowed_run_types=["scheduled", "manual", "asset_triggered"],
        **_common(job.source, stream, "sync"),
    ) as dag:  # fmt: skip
        _tasks(job)
    return dag


def _backfill(job: Job) -> DAG:
    since = datetime.fromisoformat(job.stream.backfill.since).replace(tzinfo=UTC)
    with DAG(
        f"{job.full_name}.backfill",
        schedule=CronDataIntervalTimetable(INTERVALS[job.stream.backfill.every], timezone="UTC"),
        end_date=since - timedelta(days=1),
        doc_md=describe.backfill(job.source, job.name, job.stream),
        **{**_common(job.source, job.stream, "backfill"), "start_date": since},
    ) as dag:
        _tasks(job)
    return dag


def _common(source: Source, stream: Stream, kind: str) -> dict[str, Any]:
    """What both DAGs of a stream share. Nothing here may change from one parse to the next."""
    return {
        "start_date": datetime(2020, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "tags": {"tidegate", source.name, kind, *stream.tags},
        "description": stream.description or f"{stream.table} of {source.connection}",
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


def _tasks(job: Job) -> None:
    """Pull → clean → validate → load; with nothing new the last three are skipped."""
    asset = Asset(job.full_name)

    @task.short_circuit(inlets=[asset])  # type: ignore[untyped-decorator]
    def pull() -> dict[str, Any]:
        """Read what is new, and stage it."""
        from tidegate import path

        increment = path.pull(job, _request(job))
        if not increment.rows and increment.request.mode is not Mode.WINDOW:
            _mirror(asset, increment.high, None)
            return {}
        return describe.brief(increment)

    @task
    def clean(pulled: dict[str, Any]) -> dict[str, Any]:
        """Apply the cleaning steps."""
        from tidegate import path

        return describe.brief(path.clean(job, _staged(pulled)))

    @task
    def validate(cleaned: dict[str, Any]) -> dict[str, Any]:
        """Check the expectations; hold the rows that fail."""
        from tidegate import path

        return describe.brief(path.validate(job, _staged(cleaned)))

    @task(outlets=[asset])  # type: ignore[untyped-decorator]
    def load(validated: dict[str, Any]) -> dict[str, Any]:
        """Make it true, in one transaction of the store."""
        return _load(job, asset, _staged(validated))

    pulled = pull()
    cleaned = clean(pulled)
    validated = validate(cleaned)
    load(validated)
    for step in (pulled, cleaned, validated):
        step.operator.operator_extra_links = (StagedDataLink(),)


def _load(job: Job, asset: Asset, increment: Increment) -> dict[str, Any]:
    """Load and announce; a run that another one overtook is skipped."""
    from airflow.sdk.exceptions import AirflowSkipException

    from tidegate import path

    try:
        report = path.load(job, increment)
    except OvertakenError as error:
        raise AirflowSkipException(str(error)) from error
    events: Any = get_current_context()["outlet_events"]
    events[asset].extra = describe.report(report)
    if report.mode is not Mode.WINDOW:
        _mirror(asset, report.watermark, report.seq)
    return describe.report(report)


def _request(job: Job) -> Request:
    """What this task instance is asked to read."""
    context: Any = get_current_context()
    run, ti, params = context["dag_run"], context["ti"], context["params"]
    request = Request(job.full_name, run.run_id, attempt=ti.try_number)
    if ti.dag_id.endswith(".backfill"):
        since, until = run.data_interval_start, run.data_interval_end
        if since is None or until is None or since == until:
            raise ConfigError(
                f"{ti.dag_id}: this run has no data interval. Use Trigger → Backfill, or trigger "
                f"{job.full_name} with mode 'window'."
            )
        return replace(request, mode=Mode.WINDOW, window=Window.between(since, until))
    mode = Mode(params["mode"])
    if mode is not Mode.WINDOW:
        return replace(request, mode=mode)
    if not params["from"] or not params["until"]:
        raise ConfigError(f"{ti.dag_id}: mode 'window' needs both 'from' and 'until'.")
    since, until = (datetime.fromisoformat(params[name]) for name in ("from", "until"))
    return replace(request, mode=mode, window=Window.between(since, until))


def _staged(brief: dict[str, Any]) -> Increment:
    """The increment the task before staged, for this task's own attempt."""
    from tidegate import stage

    increment = stage.load_manifest(brief["where"])
    attempt = get_current_context()["ti"].try_number
    return replace(increment, request=replace(increment.request, attempt=attempt))


def _mirror(asset: Asset, watermark: Watermark | None, seq: int | None) -> None:
    """Show the watermark where people look for it; the store alone decides what it is."""
    if watermark is not None:
        value = {"cursor": watermark.cursor} | ({"seq": seq} if seq else {})
        cast("Any", get_current_context())["asset_state_store"][asset].set("watermark", value)


class StagedDataLink(BaseOperatorLink):  # type: ignore[misc]
    """From a task to the summary of what it staged."""

    name = "Staged data"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page of the plugin; it asks for the same permission as the task itself."""
        from urllib.parse import quote

        parts = (quote(part, safe="") for part in (ti_key.dag_id, ti_key.run_id, ti_key.task_id))
        return "/tidegate/staged/" + "/".join(parts)


def _broken(name: str, file: PipelineFile, error: ConfigError) -> DAG:
    """A stream that cannot run, shown where people look for it."""
    full_name = name if file.source is None else f"{file.name}.{name}"
    full_name = re.sub(r"[^\w.-]", "_", full_name)
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


def _housekeeping() -> DAG:
    """Removes the folders of old runs."""
    with DAG(
        "tidegate.janitor",
        schedule="17 3 * * *",
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags={"tidegate"},
        doc_md="Removes data staged between tasks after `TIDEGATE_STAGE_DAYS` days (3).",
    ) as dag:

        @task
        def sweep() -> int:
            from tidegate import stage

            return stage.sweep()

        sweep()
    return dag

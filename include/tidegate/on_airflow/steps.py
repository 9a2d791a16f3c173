"""The path's tasks: pull → clean → validate → load, each safe to retry by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from airflow.sdk import Asset, BaseOperatorLink, chain, get_current_context, task

from tidegate import describe, progress
from tidegate.errors import ConfigError, LargeLoadError, MismatchError, OvertakenError
from tidegate.job import Job
from tidegate.model import Increment, Mode, Replay, Request, Watermark, Window
from tidegate.on_airflow import derivation, large, questions
from tidegate.on_airflow.outputs import WHOLE

Brief = dict[str, Any] | None
"""What a step hands on, by XCom; see :func:`tidegate.describe.brief`."""
PROGRESS = "progress"
"""The key of the XCom that says how far a task is."""
_log = logging.getLogger(__name__)


def declare(job: Job) -> None:
    """Pull → clean → validate → load; with nothing new the last three are skipped."""
    asset = Asset(job.full_name)

    @task.short_circuit(  # type: ignore[untyped-decorator]
        inlets=[asset], outlets=[derivation.NEWS, large.NEWS, questions.NEWS], **WHOLE
    )
    def pull() -> dict[str, Any]:
        """Read what is new, and stage it; leave a large first load to the backfill DAG."""
        request = _request(job)
        try:
            return pulling(job, asset, large.limited(job, request))
        except LargeLoadError as found:
            return {} if large.left(job, found) else pulling(job, asset, request)

    behind(job, asset, pull())


def behind(job: Job, asset: Asset, pulled: Any, name: str | None = None) -> Any:
    """Clean → validate → load what *pulled* staged; *name* is the template of a mapped task's.

    A task that is not mapped asks for what the one before it staged. Had it that as an argument,
    Airflow would note the argument, too: 20 ms of the 150 that such a task takes for next to
    nothing, and there are four until a change is in the store.
    """

    @task(map_index_template=name, **WHOLE)  # type: ignore[untyped-decorator]
    def clean(staged: Brief = None) -> dict[str, Any]:
        """Apply the cleaning steps."""
        from tidegate import path

        with skipping():
            return describe.brief(path.clean(job, _staged(staged)))

    @task(map_index_template=name, **WHOLE)  # type: ignore[untyped-decorator]
    def validate(staged: Brief = None) -> dict[str, Any]:
        """Check the expectations; hold the rows that fail."""
        from tidegate import path

        with skipping():
            return describe.brief(path.validate(job, _staged(staged)))

    @task(map_index_template=name, outlets=[asset, derivation.NEWS], **WHOLE)  # type: ignore[untyped-decorator]
    def load(staged: Brief = None) -> dict[str, Any]:
        """Make it true: rows, ledger and watermark in one transaction of the store."""
        return _load(job, asset, _staged(staged))

    if name is None:
        steps = (pulled, clean(), validate(), load())
        chain(*steps)
        for step in steps:
            step.operator.template_fields = ()
    else:
        cleaned = clean(staged=pulled)
        validated = validate(staged=cleaned)
        steps = (pulled, cleaned, validated, load(staged=validated))
    for step in steps[:3]:
        step.operator.operator_extra_links = (StagedDataLink(),)
    return steps[-1]


def pulling(job: Job, asset: Asset, request: Request) -> dict[str, Any]:
    """Stage what *request* asks for; nothing new is a reason to skip the rest."""
    from tidegate import path

    with skipping(), telling(job):
        increment = path.pull(job, request)
    idle = increment.empty and increment.request.mode is not Mode.WINDOW
    if idle:
        mirror(asset, increment.high, None)
        with job.store() as store:
            derivation.announce(job.full_name, store.verdict(job.full_name, job.stream))
    if increment.notes:  # last of all: what is told once must not be lost with this task
        with job.store() as store:
            questions.announce(store, job.full_name)
    return {} if idle else describe.brief(increment)


@contextmanager
def skipping() -> Iterator[None]:
    """Skip the task when another run does what this one would have done, and say which."""
    from airflow.sdk.exceptions import AirflowSkipException

    try:
        yield
    except OvertakenError as error:
        raise AirflowSkipException(str(error)) from error


@contextmanager
def telling(job: Job) -> Iterator[None]:
    """Say how far the task is: in its log, and in an XCom that the page shows."""

    def tell(at: progress.Progress) -> None:
        _log.info("%s: %s", job.full_name, at)
        with suppress(Exception):  # a report that is lost must not cost the rows
            cast("Any", get_current_context())["ti"].xcom_push(PROGRESS, at.to_json())

    with progress.told(tell):
        yield


def _load(job: Job, asset: Asset, increment: Increment) -> dict[str, Any]:
    """Load and announce."""
    from tidegate import path

    with skipping(), telling(job):
        report = path.load(job, increment)
    events: Any = get_current_context()["outlet_events"]
    events[asset].extra = describe.report(report)
    derivation.announce(report.stream, report.details.get("mapping"))
    if report.mode is Mode.REPLAY:
        _log.info("%s: %s", report.stream, describe.fates(report))
    if report.mode.advances:
        mirror(asset, report.watermark, report.seq)
    return describe.report(report)


def asked(job: Job) -> Request:
    """One run of *job*, by this attempt of this task."""
    context: Any = get_current_context()
    return Request(job.full_name, context["dag_run"].run_id, attempt=context["ti"].try_number)


def _request(job: Job) -> Request:
    """What the form, or the schedule, asks for."""
    context: Any = get_current_context()
    ti, params, request = context["ti"], context["params"], asked(job)
    mode = Mode(params["mode"])
    if mode is Mode.REPLAY:
        wanted = Replay(keys=tuple(params["keys"] or ()), rule=params["rule"] or None)
        return replace(request, mode=mode, replay=wanted)
    if mode is not Mode.WINDOW:
        return replace(request, mode=mode)
    if not params["from"] or not params["until"]:
        raise ConfigError(f"{ti.dag_id}: mode 'window' needs both 'from' and 'until'.")
    since, until = (datetime.fromisoformat(params[name]) for name in ("from", "until"))
    return replace(request, mode=mode, window=Window.between(since, until))


def _staged(brief: Brief) -> Increment:
    """The increment the task before staged, for this task's own attempt."""
    from tidegate import stage

    context: Any = get_current_context()
    if not brief:
        (before,) = context["task"].upstream_task_ids
        brief = context["ti"].xcom_pull(task_ids=before)
        if not brief:
            raise MismatchError(
                f"{context['ti'].dag_id}: task {before!r} of this run has staged nothing. "
                "Clear it, with what follows it."
            )
    increment = stage.load_manifest(brief["where"])
    return replace(increment, request=replace(increment.request, attempt=context["ti"].try_number))


def mirror(asset: Asset, watermark: Watermark | None, seq: int | None) -> None:
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
        return f"/tidegate/staged/{'/'.join(parts)}?map_index={ti_key.map_index}"

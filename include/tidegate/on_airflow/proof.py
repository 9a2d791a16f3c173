"""The DAG of a source that compares its streams with the store, repairs them, and says how far."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, AssetAlias, get_current_context, task

from tidegate.errors import ConfigError, OvertakenError
from tidegate.fields import did_you_mean, duration
from tidegate.job import Job
from tidegate.on_airflow.access import connection
from tidegate.on_airflow.forms import field
from tidegate.on_airflow.outputs import WHOLE
from tidegate.on_airflow.retries import RETRIES

if TYPE_CHECKING:
    from tidegate.pipeline.models import Source, Stream
    from tidegate.verify import Result

_log = logging.getLogger(__name__)
_AS_WRITTEN = "as the pipeline file says"


def dag(source: Source, streams: Mapping[str, Stream]) -> DAG:
    """One task for each stream that has ``verify: {enabled: true}``."""
    settings = source.defaults
    enabled = {name: stream for name, stream in streams.items() if stream.verifies}
    news = AssetAlias(f"{source.name}.verify.news")
    with DAG(
        f"{source.name}.verify",
        schedule=_schedule(source),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        allowed_run_types=["scheduled", "manual"],
        tags={"tidegate", source.name, "verify"},
        description=f"whether the store is what {source.connection} says",
        params=_params(enabled),
        doc_md=_DOC.format(name=source.name),
        default_args={
            "owner": settings.owner,
            "pool": source.pool or "default_pool",
            "retries": settings.retries,
            "retry_policy": RETRIES,
            "retry_delay": duration(settings.retry_delay),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": duration(settings.max_retry_delay),
        },
    ) as made:

        @task
        def streams_wanted() -> list[str]:
            """Which streams to compare."""
            return _wanted(source.name, list(enabled))

        @task(map_index_template="{{ stream }}", outlets=[news], **WHOLE)  # type: ignore[untyped-decorator]
        def verify(stream: str) -> dict[str, Any]:
            """Compare the stream below its watermark; repair it; go on where it was stopped."""
            context: Any = get_current_context()
            context["stream"] = stream  # its name in the grid
            result = _verify(Job(source, stream, enabled[stream], connection))
            _announce(news, result)
            return result.to_json()

        verify.expand(stream=streams_wanted())
    return made


def _schedule(source: Source) -> Any:
    if source.verify == "never":
        return None
    return source.verify if " " in source.verify.strip() else duration(source.verify)


def _params(streams: Mapping[str, Stream]) -> dict[str, Any]:
    return {
        "streams": field(
            None, type=["null", "array"], items={"type": "string"}, examples=list(streams),
            title="Streams", description="only these; empty: every stream",
        ),
        "repair": field(
            _AS_WRITTEN, type="string", enum=[_AS_WRITTEN, "yes", "no"], title="Repair",
            description="read again what differs",
        ),
        "allow_deletes": field(
            None, type=["null", "integer"], minimum=0, title="Allow deletes",
            description="let so many rows be deleted in each stream, instead of deletes: brake; "
            "repairs, whatever the file says",
        ),
        "again": field(
            False, type="boolean", title="Begin anew",
            description="do not go on where the last verification was stopped",
        ),
    }  # fmt: skip


_DOC = """\
# {name}.verify

Compares every stream with its source, below the watermark: there the store claims to have every
change. Where the source hashes its rows, it sends two numbers for some thousands of them, and keys
only where those differ; it is asked for one short statement at a time.

What differs is read again by the ordinary path. Rows that are gone become tombstones at the end, if
they are no more than `deletes: {{brake: …}}` allows; else the task fails, says how many there are,
and deletes nothing. Trigger it with *Allow deletes* to go on.

A killed task goes on where it was. It may run beside the syncs. The goal for rows repaired is 0:
each was lost or stale without anybody's knowing. From a shell: `tidegate verify`.
"""


def _wanted(source: str, known: list[str]) -> list[str]:
    context: Any = get_current_context()
    wanted = [name.removeprefix(f"{source}.") for name in context["params"]["streams"] or known]
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f"{source}.verify: no stream {name!r} to verify.{did_you_mean(name, known)} "
                f"Known: {', '.join(known) or 'none'}"
            )
    return wanted


def _verify(job: Job) -> Result:
    """A verification that another process went on with is skipped here."""
    from airflow.sdk.exceptions import AirflowSkipException

    from tidegate.verify import verify

    context: Any = get_current_context()
    params, first = context["params"], context["ti"].try_number == 1
    repair = {"yes": True, "no": False}.get(params["repair"])
    try:
        return verify(
            job, repair=repair, allow_deletes=params["allow_deletes"],
            again=params["again"] and first,
        )  # fmt: skip
    except OvertakenError as error:
        raise AirflowSkipException(str(error)) from error


def _announce(news: AssetAlias, result: Result) -> None:
    """Tell who waits for the stream's data, or for its proof; and the metrics."""
    from airflow.sdk.observability.stats import gauge

    said = result.to_json()
    _log.info("%s", said)
    events: Any = get_current_context()["outlet_events"]
    if result.verified:
        events[news].add(Asset(f"{result.stream}.verified"), extra=said)
    if result.repaired + result.tombstoned:
        events[news].add(Asset(result.stream), extra=said)
    for name in ("compared", "differing", "repaired", "tombstoned", "seconds"):
        gauge(f"tidegate.verify.{name}", said[name], tags={"stream": result.stream})

"""The DAG that looks at a source before its first run, and whenever somebody asks."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import DAG, get_current_context, task

from tidegate.fields import duration
from tidegate.job import Job
from tidegate.on_airflow.access import connection
from tidegate.on_airflow.outputs import WHOLE
from tidegate.on_airflow.retries import RETRIES

if TYPE_CHECKING:
    from tidegate.pipeline.models import Source, Stream

_log = logging.getLogger(__name__)


def dag(source: Source, streams: dict[str, Stream]) -> DAG:
    """One task for each stream: it fails with what is wrong and what to do about it."""
    settings = source.defaults
    with DAG(
        f"{source.name}.doctor",
        schedule="@once",
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        allowed_run_types=["scheduled", "manual"],
        tags={"tidegate", source.name, "doctor"},
        description=f"what may keep the streams of {source.connection} from being read in full",
        doc_md=_DOC.format(name=source.name),
        default_args={
            "owner": settings.owner,
            "pool": source.pool or "default_pool",
            "retries": settings.retries,
            "retry_policy": RETRIES,
            "retry_delay": duration(settings.retry_delay),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": duration(settings.max_retry_delay),
            "execution_timeout": duration(settings.execution_timeout),
        },
    ) as made:

        @task(map_index_template="{{ stream }}", **WHOLE)  # type: ignore[untyped-decorator]
        def look(stream: str) -> dict[str, int]:
            """Look at one stream; says how many findings of each level there are."""
            cast("Any", get_current_context())["stream"] = stream  # its name in the grid
            return _look(Job(source, stream, streams[stream], connection))

        look.expand(stream=list(streams))
    return made


_DOC = """\
# {name}.doctor

Looks at each stream's source once before the first run, and whenever it is triggered: its index,
keys, stamps, clock and zone, the user's rights, open transactions.

An *error* fails the stream's task: the stream cannot run so. Warnings and notes are in the task's
log. Each says what to do. From a shell: `tidegate doctor`.
"""


def _look(job: Job) -> dict[str, int]:
    from tidegate import preflight

    found = preflight.look(job)
    levels = {"error": logging.ERROR, "warning": logging.WARNING, "note": logging.INFO}
    for finding in found:
        _log.log(levels[finding.level], "%s\n%s\n%s", finding.code, finding.what, finding.todo)
    if error := preflight.refusal(job.full_name, found):
        raise error
    return {level: sum(finding.level == level for finding in found) for level in levels}

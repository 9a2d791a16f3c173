"""The DAG that moves what ``keep:`` no longer keeps out of the store."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, get_current_context, task

from tidegate import settings
from tidegate.job import store_endpoint
from tidegate.on_airflow.access import connection
from tidegate.on_airflow.forms import field
from tidegate.on_airflow.outputs import WHOLE
from tidegate.on_airflow.retries import RETRIES
from tidegate.pipeline.keeping import MOST_DAYS, policies
from tidegate.pipeline.reader import read_all

ID = "tidegate.keep"
_DOC = """\
# tidegate.keep

Moves superseded versions and settled rows of the quarantine that are older than the stream's
`keep:` block says into Parquet files below `TIDEGATE_ARCHIVE`, and out of the store. Streams
without such a block keep everything; a row that is still held stays. History is trimmed no further
than the slowest subscriber of the change feed has read. What messages said that arrived and were
loaded is forgotten; their rows stay.

Questions about a time before what was trimmed are refused from then on. Trigger it by hand with
*days* to use another age this once, or with *dry run* to see in the log how much would go.
"""


def dag() -> DAG:
    """One task for each stream that says how long it keeps anything."""
    with DAG(
        ID,
        schedule="47 3 * * *",
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags={"tidegate"},
        description="moves old history and quarantine out of the store",
        params={
            "days": field(
                None, type=["null", "integer"], minimum=0, maximum=MOST_DAYS, title="Days",
                description="instead of the ages in the pipeline files, where they give one",
            ),
            "dry_run": field(
                False, type="boolean", title="Dry run", description="count, and move nothing"
            ),
        },
        doc_md=_DOC,
        default_args={
            "retries": 3,
            "retry_delay": timedelta(seconds=30),
            "retry_policy": RETRIES,
        },
    ) as made:  # fmt: skip

        @task
        def streams() -> list[str]:
            """Which streams say how long they keep anything."""
            return list(policies(read_all(settings.pipelines())))

        @task(map_index_template="{{ stream }}", max_active_tis_per_dag=1, **WHOLE)  # type: ignore[untyped-decorator]
        def trim(stream: str) -> dict[str, Any]:
            """Move what *stream* no longer keeps; says how much it was."""
            return _trim(stream)

        trim.expand(stream=streams())
    return made


def _trim(stream: str) -> dict[str, Any]:
    from tidegate.store import open_store

    context: Any = get_current_context()
    params = context["params"]
    keep = policies(read_all(settings.pipelines()), params["days"])[stream]
    with open_store(store_endpoint(connection)) as store:
        return asdict(store.trim(stream, keep, dry_run=params["dry_run"]))

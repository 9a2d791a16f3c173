"""The DAG that derives knowledge anew when a mapping was changed, and what starts it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, get_current_context, task

from tidegate import settings
from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.job import Job
from tidegate.on_airflow.access import connection
from tidegate.on_airflow.forms import field
from tidegate.on_airflow.outputs import WHOLE
from tidegate.on_airflow.retries import RETRIES
from tidegate.pipeline.reader import read_all

ID = "tidegate.derive"
OUTDATED = Asset("tidegate.mapping")
"""Updated when a stream's mapping in the store is no longer the file's; the event names it."""
NEWS = AssetAlias("tidegate.mapping.news")
"""The outlet of tasks that may have such news, and mostly have none."""


def announce(stream: str, verdict: Any) -> None:
    """Let the DAG run when *verdict* says that the mapping of *stream* is outdated."""
    if verdict == "outdated":
        events: Any = get_current_context()["outlet_events"]
        events[NEWS].add(OUTDATED, extra={"stream": stream})


def dag() -> DAG:
    """One task for each stream whose mapping is outdated."""
    with DAG(
        ID,
        schedule=[OUTDATED],
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags={"tidegate"},
        description="derives knowledge anew from the records when a mapping was changed",
        params={
            "stream": field(
                None, type=["null", "string"], title="Stream",
                description="source.stream; empty: every stream whose mapping was changed",
            )
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
            """Which streams to look at."""
            return _streams()

        @task(map_index_template="{{ stream }}", max_active_tis_per_dag=2, **WHOLE)  # type: ignore[untyped-decorator]
        def derive(stream: str) -> dict[str, int]:
            """Derive what the stream's records say, while loads go on."""
            return _derive(stream)

        derive.expand(stream=streams())
    return made


_DOC = """\
# tidegate.derive

When the `load:` block of a stream (or the vocabulary) says something else than what the store was
made with, loads go on with the old mapping, and this DAG derives entities and relations anew from
the stored records. The source is not asked. The new mapping is read from the moment it is complete.

It starts by itself when a run of the stream finds its mapping outdated. Trigger it by hand for one
stream, or for all of them. A task that died goes on where it was; when all its tries have failed,
nothing starts it again but you.
"""


def _streams() -> list[str]:
    context: Any = get_current_context()
    known = _jobs()
    wanted = context["params"]["stream"]
    if wanted:
        if wanted not in known:
            raise ConfigError(
                f"{ID}: no stream {wanted!r}.{did_you_mean(wanted, known)} "
                f"Known: {', '.join(known) or 'none'}"
            )
        return [wanted]
    events = context["triggering_asset_events"].get(OUTDATED, ())
    named = {event.extra.get("stream") for event in events}
    return sorted(named & known.keys()) if named else sorted(known)


def _derive(stream: str) -> dict[str, int]:
    job = _jobs().get(stream)
    if job is None:
        raise ConfigError(f"{stream}: its pipeline file is gone, or broken. Look at its DAG.")
    done: dict[str, int] = {}
    with job.store() as store:
        for step in store.derive(stream, job.stream):
            done[step.what] = done.get(step.what, 0) + step.rows
    return done


def _jobs() -> dict[str, Job]:
    jobs = [
        Job(file.source, name, stream, connection)
        for file in read_all(settings.pipelines())
        if file.source is not None
        for name, stream in file.streams.items()
    ]
    return {job.full_name: job for job in jobs}

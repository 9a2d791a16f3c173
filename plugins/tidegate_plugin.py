"""Registers Tidegate with Airflow: the page of staged data, and what a scheduler is told.

Every task process imports this file, so it imports nothing heavy: the page is built when the API
server is first asked for it, and pools are made when the scheduler starts.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


class LazyPage:
    """An ASGI app that comes into being with its first request."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if self._app is None:
            self._app = _page()
        await self._app(scope, receive, send)


def _page() -> Any:
    """The page, behind Airflow's login and the permission to read the DAG's XComs."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from fastapi import Depends

    from tidegate import page
    from tidegate.on_airflow import access  # noqa: F401 - the stage may be behind a connection

    def find(dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, Any]:
        query = XComModel.get_many(
            run_id=run_id, task_ids=task_id, dag_ids=dag_id, map_indexes=map_index
        )
        with create_session() as session:
            return {
                found.key: XComModel.deserialize_value(found)
                for found in session.scalars(query)
                if found.key in {"return_value", "progress"}
            }

    return page.create(find, [Depends(requires_access_dag("GET", DagAccessEntity.XCOM))])


class Pools:
    """Creates the pools that pipeline files name, when a scheduler starts."""

    @hookimpl  # type: ignore[untyped-decorator]
    def on_starting(self, component: Any) -> None:
        """Make missing pools; a pool that is there keeps the slots somebody gave it.

        Tasks of a LocalExecutor are forked from the scheduler, and tell of their start, too.
        """
        from airflow.jobs.job import Job

        if not isinstance(component, Job):
            return
        from airflow.models.pool import Pool

        from tidegate import settings
        from tidegate.pipeline.reader import read_all

        for file in read_all(settings.pipelines()):
            source = file.source
            if source is not None and source.pool and Pool.get_pool(source.pool) is None:
                Pool.create_or_update_pool(
                    source.pool, source.pool_slots, f"Tidegate: source {source.name}", False
                )
                logging.getLogger(__name__).info("Created pool %s", source.pool)


class Freed:
    """Has the scheduler write that a DAG may run again, also where it believes that it may.

    Nobody notes of a run that an asset started that its DAG is busy, until the DAG processor reads
    the file; if it does so just as the run ends, the scheduler has the note of before in hand, sees
    nothing to change, and makes no run until the file is read again, half a minute later.
    """

    @hookimpl  # type: ignore[untyped-decorator]
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        """In the scheduler, before it makes its note."""
        _free(dag_run)

    @hookimpl  # type: ignore[untyped-decorator]
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """In the scheduler, before it makes its note."""
        _free(dag_run)


def _free(dag_run: Any) -> None:
    from airflow.models.dag import DagModel
    from sqlalchemy.orm import object_session
    from sqlalchemy.orm.attributes import flag_modified

    session = object_session(dag_run)
    model = None if session is None else session.get(DagModel, dag_run.dag_id)
    if model is not None:
        flag_modified(model, "exceeds_max_non_backfill")


class TidegatePlugin(AirflowPlugin):  # type: ignore[misc]
    """What Airflow finds."""

    name = "tidegate"
    fastapi_apps = [{"name": "Tidegate", "url_prefix": "/tidegate", "app": LazyPage()}]
    listeners = [Pools(), Freed()] if "scheduler" in sys.argv else []

"""Warm parents: load the heavy libraries once, where tasks are forked from.

Airflow imports this file in each of its processes (``$AIRFLOW_HOME/config`` is on its path).
Importing pandas, pyarrow and Great Expectations takes seconds; done by every task it would cost
more than the work itself. A LocalExecutor forks its tasks from the scheduler, a Celery worker forks
a process for each slot from its main process, and tasks from those: loaded there, the libraries are
shared by all tasks and cost none of them time. The DAG processor forks a process for each reading
of the DAG file, which needs Tidegate, but none of the heavy libraries. Everywhere else (API server,
triggerer, command line, a scheduler whose tasks run on Celery workers) nothing is loaded.
docs/scaling.md has the figures.

Only imports happen here: no threads, no connections, nothing that a fork would break.
What is not installed is left out without a word; the task that needs it will say so.
"""

from __future__ import annotations

import importlib
import os
import sys

from airflow.configuration import conf

__all__: list[str] = []
"""Airflow copies the names of this file into its settings; none of ours belong there."""

_HEAVY = (
    "pandas",
    "pgpq",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "sqlalchemy",
    "upath.implementations.local",
    "tidegate.path",
    "tidegate.describe",
    "tidegate.clean.casting",
    "tidegate.clean.expression",
    "tidegate.on_airflow",
    "tidegate.pipeline.reader",
    "tidegate.sources.sql.mysql",
    "tidegate.sources.sql.postgres",
    "tidegate.sources.sql.reading",
    "tidegate.store.store",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.decorators.short_circuit",
    "airflow.providers.standard.operators.hitl",
    "airflow.dag_processing.bundles.local",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.timeout",
    "jinja2.ext",
    "tidegate.replay",
    "tidegate.sources.sql.snapshot",
)

_READS = ("tidegate.on_airflow",)
"""What a reading of the DAG file needs: to import it each time took a tenth of the reading."""

_S3 = ("s3fs", "upath.implementations.cloud")
"""As heavy, and of use only where tasks hand their data to each other on S3."""


def _load(*names: str) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def _warm() -> None:
    on_s3 = os.environ.get("TIDEGATE_STAGE", "").startswith("s3://")
    _load(*_HEAVY, *(_S3 if on_s3 else ()))
    try:
        importlib.import_module("tidegate.pipeline.kinds").kinds()
        validate = importlib.import_module("tidegate.validate")
        validate.warm()
    except (ImportError, AttributeError):
        return


def _prepare(words: list[str]) -> None:
    """What an ``airflow`` process with this command line will need in those that it forks."""
    match words:
        case ["celery", "worker", *_]:
            _warm()
        case ["scheduler", *_] if "LocalExecutor" in conf.get("core", "executor"):
            _warm()
        case ["dag-processor", *_]:
            _load(*_READS)


_prepare(sys.argv[1:])

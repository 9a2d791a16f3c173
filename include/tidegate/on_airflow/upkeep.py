"""DAGs that look after the store and the stage, whatever the streams are."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, task

from tidegate.on_airflow import derivation, keeping, questions, verification


def build() -> list[DAG]:
    """All of them."""
    return [_janitor(), derivation.dag(), keeping.dag(), questions.dag(), verification.dag()]


def _janitor() -> DAG:
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
            from tidegate import sweeping

            return sweeping.sweep()

        sweep()
    return dag

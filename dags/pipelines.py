"""Every stream in include/pipelines is a DAG; see tidegate.on_airflow for how."""

from airflow.sdk import get_parsing_context

from tidegate.on_airflow import build_dags

for dag_id, dag in build_dags(only=get_parsing_context().dag_id).items():
    globals()[dag_id] = dag

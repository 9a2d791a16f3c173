"""Every stream in include/pipelines is a DAG; see tidegate.on_airflow for how."""

from tidegate.on_airflow import build_dags

for dag_id, dag in build_dags().items():
    globals()[dag_id] = dag

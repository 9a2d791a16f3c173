"""THE ONLY PACKAGE THAT IMPORTS AIRFLOW: pipeline files become DAGs.

Each stream becomes two DAGs. ``shop.orders`` runs on its schedule; the schedule says *when*, the
watermark says *what*. No clock runs ``shop.orders.backfill``; Airflow's own backfill (UI, CLI,
REST) makes one run per interval, which reads that window and leaves the watermark alone. A stream
or file that is wrong becomes a DAG tagged ``broken`` that shows its message.

``dags``    which DAGs there are, and what they look like in Airflow
``steps``   the path's tasks; ``chunks`` those of a backfill, ``large`` what starts one
``upkeep``  DAGs for the store itself
``access``  connections, with their secrets masked
``outputs`` what tasks hand on
``forms``   the fields of trigger forms
"""

from tidegate.on_airflow.access import connection
from tidegate.on_airflow.dags import INTERVALS, build_dags
from tidegate.on_airflow.retries import RETRIES
from tidegate.on_airflow.steps import StagedDataLink

__all__ = ["INTERVALS", "RETRIES", "StagedDataLink", "build_dags", "connection"]

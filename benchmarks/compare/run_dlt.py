"""dlt's part: run by the Python of dlt's own environment, which has nothing of Tidegate.

``run_dlt.py BACKEND FOLDER [TABLE CURSOR]``
"""

import os
import sys

import dlt
from dlt.destinations import postgres
from dlt.sources.sql_database import sql_table

backend, folder, table, cursor = [*sys.argv[1:], "orders", "updated_at"][:4]
rows = sql_table(
    credentials=os.environ["SOURCE"].replace("mysql:", "mysql+pymysql:"),
    table=table,
    backend=backend,
    chunk_size=100_000,
    incremental=dlt.sources.incremental(cursor),
    primary_key="id",
    write_disposition={"disposition": "merge", "strategy": "upsert"},
)
pipeline = dlt.pipeline(
    "bench",
    destination=postgres(os.environ["TARGET"]),
    dataset_name="bench",
    pipelines_dir=folder,
)
pipeline.run(rows, loader_file_format="parquet").raise_on_failed_jobs()

"""A real shop's year (541,909 order lines) from MariaDB into the store, through a real Airflow.

First the scheduled sync DAG follows the shop day by day into a PostgreSQL store, then one Airflow
backfill of the whole period fills an empty SQLite store. Prints how long each took, what the ledger
says, and whether source and store agree (compared without Tidegate's code). ``EVERY=day`` makes the
backfill one run a day (374 runs) instead of one a month.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

import retail  # noqa: E402
import retail_year as year  # noqa: E402
import services  # noqa: E402

EVERY = os.environ.get("EVERY") or "month"


def main() -> None:
    """Run both, print."""
    facts = retail.facts(line for _, lines in retail.days(retail.archive()) for line in lines)
    print(f"in the files: {facts.rows:,} lines; {facts.bad:,} break a rule; ", end="")
    print(f"{facts.distinct_good:,} different good ones, {facts.repeats:,} repeats")
    source, target = services.start("mariadb"), services.start("postgres")
    shop = source.fresh()
    source.execute(shop, retail.TABLE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            scheduled(Path(folder, "scheduled"), source, shop, target, facts)
            backfilled(Path(folder, "backfilled"), source, shop, target)
    finally:
        source.close()
        target.close()


def scheduled(folder: Path, source, shop, target, facts) -> None:
    """The year through scheduled runs, into PostgreSQL."""
    folder.mkdir()
    store = target.fresh()
    files = year.pipelines(folder / "files")
    airflow = year.open_airflow(folder, files, source.uri(shop), target.uri(store), target)
    try:
        airflow.wait_for_dags(year.STREAM)
        start = time.monotonic()
        year.live_through(airflow, shop, store)
        written = time.monotonic() - start
        year.wait_until_loaded(airflow, shop, store)
        loaded = time.monotonic() - start
    finally:
        airflow.close()
    with year.psycopg_of(store) as connection:
        year.check(retail.source_rows(year.connect(shop)), connection, facts)
        runs = retail.ledger(connection, year.STREAM)
    pulled = sum(run[3] for run in runs)
    print(f"scheduled: {len(runs)} loads, {pulled:,} rows pulled; ", end="")
    print(
        f"the shop wrote for {written:.0f} s, all was loaded after {loaded:.0f} s; source = store"
    )


def backfilled(folder: Path, source, shop, target) -> None:
    """The year by one backfill, into SQLite."""
    folder.mkdir()
    file = folder / "store.db"
    store = json.dumps({"conn_type": "sqlite", "schema": str(file)})
    files = year.pipelines(folder / "files", schedule="1h", every=EVERY)
    airflow = year.open_airflow(
        folder, files, source.uri(shop), store, target,
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="True",
    )  # fmt: skip
    dag = f"{year.STREAM}.backfill"
    try:
        airflow.wait_for_dags(dag)
        airflow.pause(dag, paused=False)
        start = time.monotonic()
        number = airflow.backfill(
            dag, "2010-12-01T00:00:00Z", "2011-12-10T00:00:00Z", max_active_runs=2
        )
        states = airflow.wait_for_backfill(dag, number, 3600)
        seconds = time.monotonic() - start
    finally:
        airflow.close()
    lines = retail.source_rows(year.connect(shop))
    stored, held = retail.stored_rows(file, year.STREAM), retail.held_keys(file, year.STREAM)
    agree = {key: row for key, row in lines.items() if key not in held} == stored
    print(f"backfill by {EVERY}: runs {states} in {seconds:.0f} s; ", end="")
    print("source = store" if agree else "source and store DIFFER")


if __name__ == "__main__":
    main()

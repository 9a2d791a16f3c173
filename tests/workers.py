"""An Airflow whose tasks run on Celery workers, each on a machine of its own.

Scheduler, API server, DAG processor and triggerer are on this machine, and so are PostgreSQL (their
own data, and the store), MariaDB (the source), Redis (the queue) and S3 (the stage). Workers reach
all of them over a network, and have no folder in common.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import services
from airflows import Airflow, metadata
from demo import airflow as processes
from demo.places import Places
from demo.ports import HOST
from services import redis, s3
from services.machines import Machine, Network
from tidegate.connections import Endpoint

STAGE = "stage_s3"
"""The connection of the stage: defined in Airflow alone, so workers ask the API server for it."""
TIMEOUT = 10
"""Seconds until Airflow gives up a task that shows no sign of life; its own default is 300."""


class Fleet:
    """An Airflow over *pipelines*, a folder, which read the connection ``shop_db``."""

    def __init__(
        self, folder: Path, pipelines: Path, source: services.Server, store: services.Server,
        own: services.Server | None = None,
    ) -> None:  # fmt: skip
        """Airflow keeps its own data in *own*, or beside the store."""
        self.folder = folder
        self._closing = contextlib.ExitStack()
        try:
            self._start(pipelines, source, store, own or store)
        except BaseException:
            self._closing.close()
            raise

    def _start(
        self, pipelines: Path, source: services.Server, store: services.Server,
        own: services.Server,
    ) -> None:  # fmt: skip
        self.network = services.or_skip("namespaces", Network)
        self._closing.callback(self.network.close)
        self.queue, files = services.or_skip("redis", redis.start), s3.start_or_skip()
        self._closing.callback(self.queue.close)
        self.source, self.store = source.fresh(), store.fresh()
        bucket = files.fresh()
        self.airflow = Airflow(
            self.folder / "airflow", pipelines,
            {
                "AIRFLOW_CONN_SHOP_DB": f"{source.uri(self.source)}?insecure=true",
                "AIRFLOW_CONN_TIDEGATE_STORE": f"{store.uri(self.store)}?insecure=true",
                "TIDEGATE_STAGE": f"s3://{STAGE}@{bucket}/stage",
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                "AIRFLOW__CELERY__BROKER_URL": self.queue.url,
                "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "3600",
                "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
                "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(TIMEOUT),
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
                **metadata(own),
            },
        )  # fmt: skip
        self._closing.callback(self.airflow.close)
        self._open(files.admin, [source.admin, store.admin, own.admin])

    def _open(self, files: Endpoint, databases: Sequence[Endpoint]) -> None:
        """Make the stage known to Airflow, and all servers reachable."""
        address = files.options["endpoint_url"].replace(HOST, self.network.address)
        extra = json.dumps({**files.options, "endpoint_url": address, "insecure": True})
        self.airflow.call(
            "POST", "/api/v2/connections",
            {"connection_id": STAGE, "conn_type": "aws", "login": files.user,
             "password": files.password, "extra": extra},
        )  # fmt: skip
        ports = {self.queue.port, *(place.port or 0 for place in databases)}
        ports |= {int(place.rsplit(":", 1)[1]) for place in (self.airflow.address, address)}
        for port in ports:
            self.network.open(port)

    def worker(self, name: str, *, slots: int = 2, **environment: str) -> Machine:
        """One more, with *slots* tasks at once and a home of its own."""
        places = Places(self.folder / name)
        port = int(self.airflow.address.rsplit(":", 1)[1])
        own = processes.environment(places, port, places.prepare(fresh=False))
        known = {
            key: value.replace(HOST, self.network.address)
            for key, value in {**own, **self.airflow.settings, **environment}.items()
        }
        command = [sys.executable, "-m", "airflow", "celery", "worker", "--skip-serve-logs"]
        command += ["--concurrency", str(slots)]
        machine = Machine(self.network, name, command, known, places.logs / "worker.log")
        self._closing.callback(machine.kill)
        return machine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

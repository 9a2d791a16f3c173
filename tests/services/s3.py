"""S3 by SeaweedFS, started privately: one program that is master, volume, filer and S3.

``TIDEGATE_TEST_S3``, an Airflow connection URI like
``aws://key:secret@/?endpoint_url=http%3A%2F%2F127.0.0.1%3A9000``, names one found elsewhere.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import services
from services import process
from services.process import START_SECONDS, Private, UnavailableServerError
from tidegate.connections import Endpoint, parse

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate"
KEY, SECRET = "tide", "p4ss/W0rd+x"
LISTER = "lister"
"""Who may list, and read nothing; not known to a server found elsewhere."""
_numbers = itertools.count(1)


@dataclass
class Server:
    """An S3 server; *admin* may make buckets."""

    admin: Endpoint
    private: Private | None = None

    @property
    def client(self) -> Any:
        """A plain client, independent of the product's settings."""
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.admin.options["endpoint_url"],
            aws_access_key_id=self.admin.user,
            aws_secret_access_key=self.admin.password,
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def fresh(self) -> str:
        """A new, empty bucket."""
        name = f"tide-{os.getpid()}-{next(_numbers)}"
        self.client.create_bucket(Bucket=name)
        return name

    def endpoint(self, bucket: str) -> Endpoint:
        """How the product gets to *bucket*."""
        return replace(self.admin, database=bucket)

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """Write one object."""
        self.client.put_object(Bucket=bucket, Key=name, Body=data)

    def drop(self, bucket: str) -> None:
        """Remove *bucket* and all in it."""
        client = self.client
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for one in (one for page in pages for one in page.get("Contents", ())):
            client.delete_object(Bucket=bucket, Key=one["Key"])
        client.delete_bucket(Bucket=bucket)


@cache
def start() -> Server:
    """One for all tests of this process. Raises :class:`UnavailableServerError`."""
    if uri := os.environ.get("TIDEGATE_TEST_S3"):
        return Server(parse("shop", uri))
    program = process.find("weed", str(CACHE / "seaweedfs" / "bin" / "weed"))
    if not program:
        raise UnavailableServerError("SeaweedFS (for S3) is not installed here. Run: make services")
    folder = process.folder(None)
    port, command = _command(program, folder)
    private = Private(command, None, folder, {})
    atexit.register(private.end)
    options = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    server = Server(Endpoint("shop", "aws", None, None, KEY, SECRET, None, options), private)
    _wait(server, private)
    return server


def start_or_skip() -> Server:
    """The same; without a server the test is skipped, or fails when it is required."""
    return services.or_skip("s3", start)


def _command(program: str, folder: str) -> tuple[int, list[str]]:
    """The port of S3, and the command line: every port is one that the kernel gave."""
    config = Path(folder, "s3.json")
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    admin = {"name": "tide", "credentials": credentials, "actions": ["Admin"]}
    credentials = [{"accessKey": LISTER, "secretKey": SECRET}]
    lister = {"name": "lister", "credentials": credentials, "actions": ["List"]}
    config.write_text(json.dumps({"identities": [admin, lister]}))
    names = [
        "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
        "filer.port.grpc", "s3.port", "s3.port.grpc",
    ]  # fmt: skip
    ports = process.free_ports(len(names))
    return ports[names.index("s3.port")], [
        program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=100", "-filer",
        "-s3", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.localSocket={folder}/s",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]  # fmt: skip


def _wait(server: Server, private: Private) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + START_SECONDS
    while private.process.poll() is None and time.monotonic() < deadline:
        try:
            bucket = server.fresh()
            server.put(bucket, "first", b"1")
            server.drop(bucket)
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
        else:
            return
    raise UnavailableServerError(f"the private S3 server does not answer:\n{private.said()}")

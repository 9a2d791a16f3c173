"""Files behind a URI, and S3 by a connection: sources, stage and archive reach it alike."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import Any

from tidegate.connections import Endpoint, Resolve, from_environment
from tidegate.errors import ConfigError

S3 = {"aws", "s3"}
"""Types of connections that lead there."""
_SECONDS = 60
_resolve: Resolve = from_environment


def resolve_with(resolve: Resolve) -> None:
    """Let *resolve* find the connections that URIs name; before that, the environment does."""
    global _resolve  # noqa: PLW0603 - a process is inside Airflow, or it is not
    _resolve = resolve
    _found.cache_clear()


def path(uri: str) -> Any:
    """A :mod:`upath` path; a local one may be plain.

    ``s3://connection@bucket/folder`` goes by a connection, as Airflow's ObjectStoragePath does;
    ``s3://bucket/folder`` by what the environment or the machine grants.
    Raises ConfigError when the connection is not one of S3.
    """
    from upath import UPath

    named = re.match(r"s3://([^@/]+)@", uri)
    if not named:
        return UPath(uri)
    found = _found(named[1], int(time.monotonic()) // _SECONDS)
    return UPath(f"s3://{uri[named.end() :]}", **found)


@lru_cache(maxsize=4)
def _found(connection: str, _minute: int) -> dict[str, Any]:
    """What a connection says; asked again each minute, for keys change."""
    endpoint = _resolve(connection)
    if endpoint.kind not in S3:
        raise ConfigError(
            f"s3://{connection}@…: connection {connection!r} is of the type {endpoint.kind!r}. "
            "Name one of the type aws."
        )
    return options(endpoint, f"s3://{connection}@…")


def options(endpoint: Endpoint, name: str) -> dict[str, Any]:
    """Arguments of fsspec's ``s3`` file system; *name* is who asks, for messages.

    Raises ConfigError for an address that would send rows in the clear.
    """
    extra = dict(endpoint.options)
    url = str(extra.get("endpoint_url") or extra.get("host") or "") or None
    insecure = str(extra.get("insecure", "")).lower() in {"1", "true", "yes"}
    local = url and re.match(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:|/|$)", url)
    if url and url.startswith("http://") and not (local or insecure):
        raise ConfigError(
            f"{name}: connection {endpoint.name!r} would send its rows without TLS to {url}. Write "
            "https:// in endpoint_url, or set insecure: true in the extra fields to do without."
        )
    return {
        "key": endpoint.user or extra.get("aws_access_key_id"),
        "secret": endpoint.password or extra.get("aws_secret_access_key"),
        "token": extra.get("aws_session_token"),
        "anon": str(extra.get("anonymous", "")).lower() in {"1", "true", "yes"},
        "endpoint_url": url,
        "client_kwargs": {
            **({"region_name": extra["region_name"]} if extra.get("region_name") else {}),
            "verify": False if insecure else extra.get("verify", True),
        },
        "config_kwargs": {
            "connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2},
            "s3": {"addressing_style": "path" if url else "auto"},
        },
        "use_listings_cache": False,
        "default_fill_cache": False,
    }  # fmt: skip

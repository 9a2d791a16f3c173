"""Airflow's connections, with every spelling of their secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate import objects
from tidegate.errors import UndefinedConnectionError

if TYPE_CHECKING:
    from tidegate.connections import Endpoint


def connection(name: str) -> Endpoint:
    """Resolve an Airflow connection, and have Airflow mask every spelling of its secrets."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.sdk.log import mask_secret

    from tidegate.connections import build

    try:
        found = Connection.get(name)
    except AirflowNotFoundException as error:
        raise UndefinedConnectionError(
            f"connection {name!r} is not defined. Add it in Airflow: Admin, Connections."
        ) from error
    endpoint = build(
        name, found.conn_type or "", found.host, found.port, found.login, found.password,
        found.schema, found.extra_dejson,
    )  # fmt: skip
    for secret in endpoint.secrets():
        mask_secret(secret)
    return endpoint


objects.resolve_with(connection)

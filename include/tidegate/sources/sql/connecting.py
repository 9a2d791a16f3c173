"""Connections to MySQL and MariaDB: verified TLS, or what the server offers, without much ado."""

from __future__ import annotations

import functools
import ssl
from typing import Any

import pymysql

from tidegate import connections
from tidegate.connections import Endpoint


def tls(endpoint: Endpoint) -> dict[str, Any]:
    """What PyMySQL takes: a context, or nothing for what the server offers."""
    context = connections.tls(endpoint)
    return {"ssl": context} if context else {}


class Connection(pymysql.Connection):
    """Without an authority nothing is verified: no need to read all there are, at each connect."""

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        create = super()._create_ssl_ctx  # type: ignore[misc]  # the stubs leave it out
        return create(sslp) if sslp else _unverified()


@functools.cache
def _unverified() -> ssl.SSLContext:
    """TLS if the server has it, as PyMySQL's own without an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

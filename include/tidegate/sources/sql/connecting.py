"""Connections to MySQL and MariaDB: verified TLS, or what the server offers, without much ado."""

from __future__ import annotations

import functools
import ssl
from typing import Any

import pymysql

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError


def tls(endpoint: Endpoint) -> dict[str, Any]:
    """Verified TLS for other hosts, unless the connection says ``insecure``."""
    options = endpoint.options
    authority = options.get("ssl_ca")
    insecure = str(options.get("insecure", "")).lower() in {"1", "true", "yes"}
    if insecure or (endpoint.is_local and not authority):
        return {}
    try:
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
        if certificate := options.get("ssl_cert"):
            key = options.get("ssl_key")
            context.load_cert_chain(str(certificate), str(key) if key else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{endpoint.name}: the connection's certificates cannot be read: {error}. "
            "Check ssl_ca, ssl_cert and ssl_key."
        ) from None
    return {"ssl": context}


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

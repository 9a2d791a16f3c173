"""A connection's fields → the settings of librdkafka, TLS verified unless it says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError

OURS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "check.crcs": True,
}
"""What the promise rests on; no connection can change it."""
GENTLE = {
    "client.id": "tidegate",
    "group.id": "tidegate",
    "log_level": 2,
    "fetch.wait.max.ms": 50,
    "fetch.message.max.bytes": 4 << 20,
    "queued.max.messages.kbytes": 16 << 10,
    "reconnect.backoff.max.ms": 1000,
}
"""What a connection may say otherwise. No group is joined: the name is for the broker's lists."""
_NOT_ITS = ("insecure", "schema.registry.")
_CALLBACKS = ("_cb", "on_commit", "logger", "plugin.library.paths")


def settings(endpoint: Endpoint) -> dict[str, Any]:
    """What to make a client with. Raises ConfigError when there is no address."""
    extra = {
        name: value
        for name, value in endpoint.options.items()
        if not name.startswith(_NOT_ITS) and not name.endswith(_CALLBACKS)
    }
    servers = extra.pop("bootstrap.servers", None) or _address(endpoint)
    made = {"bootstrap.servers": servers, **GENTLE, **_login(endpoint), **extra}
    made.setdefault("security.protocol", _protocol(servers, made, endpoint))
    if not insecure(endpoint):
        _refuse_unverified(endpoint, made)
    return {**made, **OURS}


def _address(endpoint: Endpoint) -> str:
    if not endpoint.host:
        raise ConfigError(
            f"connection {endpoint.name!r}: it names no broker. Add bootstrap.servers to its "
            "extra fields, like kafka1:9092,kafka2:9092; or give host and port."
        )
    return f"{endpoint.host}:{endpoint.port or 9092}"


def _login(endpoint: Endpoint) -> dict[str, Any]:
    if not endpoint.user:
        return {}
    known = {"sasl.username": endpoint.user, "sasl.password": endpoint.password or ""}
    said = {"sasl.mechanism", "sasl.mechanisms"} & endpoint.options.keys()
    return known if said else {**known, "sasl.mechanism": "PLAIN"}


def _protocol(servers: str, made: dict[str, Any], endpoint: Endpoint) -> str:
    """TLS, except on this machine or where the connection is ``insecure``."""
    plain = insecure(endpoint) or all(map(is_local, servers.split(",")))
    transport = "plaintext" if plain else "ssl"
    return f"sasl_{transport}" if any(name.startswith("sasl.mech") for name in made) else transport


def is_local(server: str) -> bool:
    """Whether traffic to *server*, a host and a port, stays on this machine."""
    host = server.strip().rpartition("://")[2].rpartition(":")[0]
    return host in {"localhost", "[::1]"} or host.startswith("127.")


def insecure(endpoint: Endpoint) -> bool:
    """Whether the connection wants to do without verified TLS."""
    return str(endpoint.options.get("insecure", "")).lower() in {"1", "true", "yes"}


def verifies(options: Mapping[str, Any]) -> bool:
    """Whether the servers' certificates are looked at."""
    return str(options.get("enable.ssl.certificate.verification", True)).lower() != "false"


def _refuse_unverified(endpoint: Endpoint, made: dict[str, Any]) -> None:
    """Traffic that others can read or change needs ``insecure: true``."""
    local = all(map(is_local, made["bootstrap.servers"].split(",")))
    protocol = str(made["security.protocol"]).lower()
    unchecked = (
        not verifies(made)
        or str(made.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none"
    )
    if not local and ("plaintext" in protocol or unchecked):
        raise ConfigError(
            f"connection {endpoint.name!r}: security.protocol {protocol} without a verified "
            "certificate lets others read the messages and the password. Use SSL or SASL_SSL "
            "(ssl.ca.location names an authority of your own), or add insecure: true to the "
            "extra fields to do without."
        )

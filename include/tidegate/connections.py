"""From a connection's name to an address with its secret, and back to text without it.

Names are Airflow connection ids. Inside Airflow the adapter resolves them (any secrets backend);
elsewhere ``AIRFLOW_CONN_<NAME>`` in the environment holds the same URI or JSON text that Airflow
itself reads. Nothing else ever holds a credential.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from tidegate.errors import ConfigError, UndefinedConnectionError

if TYPE_CHECKING:
    from sqlalchemy import URL

KINDS = {
    "mysql": "mysql", "mariadb": "mysql", "postgres": "postgres", "postgresql": "postgres",
    "sqlite": "sqlite",
}  # fmt: skip
DRIVERS = {"mysql": "mysql+pymysql", "postgres": "postgresql+psycopg", "sqlite": "sqlite"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a connection leads. ``repr`` shows no password.

    kind     ``mysql`` (also MariaDB), ``postgres`` or ``sqlite``
    options  the connection's extra fields, such as ``unix_socket`` or ``insecure``
    """

    name: str
    kind: str
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> URL:
        """The SQLAlchemy URL; it renders with ``***`` for the password."""
        from sqlalchemy import URL

        return URL.create(
            DRIVERS[self.kind], self.user, self.password, self.host, self.port, self.database
        )

    @property
    def is_local(self) -> bool:
        """Whether the traffic stays on this machine, so that TLS may be left out."""
        return (
            self.kind == "sqlite"
            or "unix_socket" in self.options
            or (self.host or "localhost") in {"localhost", "127.0.0.1", "::1"}
            or (self.host or "").startswith("/")
        )

    def secrets(self) -> list[str]:
        """Every spelling of the secrets that must not appear in any text."""
        words = [self.password or ""]
        words += [
            str(value)
            for key, value in self.options.items()
            if re.search(r"pass|secret|token|key", key, re.IGNORECASE)
        ]
        found: set[str] = set()
        for word in words:
            if len(word) >= 3:
                encoded = b64encode(word.encode()).decode()
                found |= {word, quote(word, safe=""), quote(word), quote_plus(word), encoded}
        return sorted(found, key=len, reverse=True)

    def scrub(self, text: object) -> str:
        """*text* (a driver's message) with every secret replaced by ``***``."""
        result = str(text)
        for secret in self.secrets():
            result = result.replace(secret, "***")
        return result


Resolve = Callable[[str], Endpoint]
"""Connection name → endpoint; raises UndefinedConnectionError when there is none."""


def from_environment(name: str) -> Endpoint:
    """Resolve ``AIRFLOW_CONN_<NAME>``, a URI or JSON."""
    variable = f"AIRFLOW_CONN_{name.upper()}"
    text = os.environ.get(variable)
    if not text:
        raise UndefinedConnectionError(
            f"connection {name!r} is not defined. Add it in Airflow (Admin, Connections), or set "
            f"{variable}, for example mysql://user:password@host:3306/database"
        )
    return parse(name, text)


def parse(name: str, text: str) -> Endpoint:
    """An endpoint from Airflow's URI or JSON form; messages never repeat *text*."""
    if text.lstrip().startswith("{"):
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"connection {name!r}: its JSON text cannot be read.") from error
        extra = fields.get("extra") or {}
        return build(
            name,
            fields.get("conn_type", ""),
            fields.get("host"),
            fields.get("port"),
            fields.get("login"),
            fields.get("password"),
            fields.get("schema"),
            json.loads(extra) if isinstance(extra, str) else extra,
        )
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"connection {name!r}: its port is not a number.") from error
    return build(
        name,
        parts.scheme,
        unquote(parts.hostname or ""),
        port,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        unquote(parts.path[1:]),
        dict(parse_qsl(parts.query)),
    )


def build(  # noqa: PLR0913, PLR0917
    name: str, kind: str, host: Any, port: Any, user: Any, password: Any, database: Any,
    options: Mapping[str, Any],
) -> Endpoint:  # fmt: skip
    """An endpoint from a connection's fields, the kind checked."""
    scheme = kind.lower().split("+")[0]
    if scheme not in KINDS:
        raise ConfigError(
            f"connection {name!r}: type {scheme or '(none)'!r} is not known. "
            "Known: mysql, postgres, sqlite."
        )
    if KINDS[scheme] == "sqlite":
        path = database or host
        if not path:
            raise ConfigError(
                f"connection {name!r}: no file given. Write sqlite:////absolute/path.db"
            )
        return Endpoint(name, "sqlite", database=str(path), options=dict(options))
    return Endpoint(
        name,
        KINDS[scheme],
        host or None,
        int(port) if port else None,
        user or None,
        password or None,
        database or None,
        dict(options),
    )

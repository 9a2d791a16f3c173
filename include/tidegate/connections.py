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
    import ssl

    from sqlalchemy import URL

ALIASES = {"mariadb": "mysql", "postgresql": "postgres"}
DRIVERS = {"mysql": "mysql+pymysql", "postgres": "postgresql+psycopg", "sqlite": "sqlite"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a connection leads. ``repr`` shows no password.

    kind     the connection's type: ``mysql`` (also MariaDB), ``postgres``, ``sqlite``, ``kafka`` …
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
        found = {spelling for word in words if len(word) >= 3 for spelling in _spellings(word)}
        return sorted(found, key=len, reverse=True)

    def scrub(self, text: object) -> str:
        """*text* (a driver's message) with every secret replaced by ``***``."""
        result = str(text)
        for secret in self.secrets():
            result = result.replace(secret, "***")
        return result


def _spellings(word: str) -> set[str]:
    """*word* as it is, and as URLs, JSON, Python and HTTP headers write it."""
    urls = {quote(word, safe=""), quote(word), quote_plus(word), quote(word, safe=" +")}
    lower = {re.sub("%..", lambda match: match[0].lower(), url) for url in urls}
    escaped = {json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1]}
    return {word, *urls, *lower, *escaped, repr(word)[1:-1], b64encode(word.encode()).decode()}


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
        fields = _json(name, text)
        extra = fields.get("extra") or {}
        return build(
            name,
            str(fields.get("conn_type") or ""),
            fields.get("host"),
            fields.get("port"),
            fields.get("login"),
            fields.get("password"),
            fields.get("schema"),
            _json(name, extra, "extra fields") if isinstance(extra, str) else extra,
        )
    try:
        parts = urlsplit(text)
        port = parts.port
        if "://" not in text:
            raise ValueError("not a URI")
    except ValueError:
        raise ConfigError(
            f"connection {name!r}: its URI cannot be read. It "
            "begins with a type and ://; special characters in the user or the "
            "password must be written as %XX (@ is %40, / is %2F, [ is %5B), the port is a number."
        ) from None
    options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "__extra__" in options:  # how Airflow writes what is not flat
        options |= _json(name, options.pop("__extra__"), "extra fields")
    return build(
        name,
        parts.scheme,
        unquote(parts.hostname or ""),
        port,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        unquote(parts.path[1:]),
        options,
    )


def _json(name: str, text: str, what: str = "JSON text") -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"connection {name!r}: its {what} cannot be read as a JSON object.")
    return value


def build(  # noqa: PLR0913, PLR0917
    name: str, kind: str, host: Any, port: Any, user: Any, password: Any, database: Any,
    options: Mapping[str, Any],
) -> Endpoint:  # fmt: skip
    """An endpoint from a connection's fields, the kind checked."""
    scheme = kind.lower().split("+")[0]
    scheme = ALIASES.get(scheme, scheme)
    if not scheme:
        raise ConfigError(f"connection {name!r}: it has no type, like mysql or postgres.")
    if scheme == "sqlite":
        path = database or host
        if not path:
            raise ConfigError(
                f"connection {name!r}: no file given. Write sqlite:////absolute/path.db"
            )
        return Endpoint(name, "sqlite", database=str(path), options=dict(options))
    if port and not (str(port).isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"connection {name!r}: port {port!r} is not a number from 1 to 65535.")
    return Endpoint(
        name,
        scheme,
        host or None,
        int(port) if port else None,
        user or None,
        password or None,
        database or None,
        dict(options),
    )


def tls(endpoint: Endpoint, *, always: bool = False) -> ssl.SSLContext | None:
    """Verified TLS for other hosts, unless the connection says ``insecure``; None: without.

    Raises ConfigError when ``ssl_ca``, ``ssl_cert`` or ``ssl_key`` cannot be read.
    """
    import ssl

    options = endpoint.options
    authority = options.get("ssl_ca")
    insecure = str(options.get("insecure", "")).lower() in {"1", "true", "yes"}
    if not always and (insecure or (endpoint.is_local and not authority)):
        return None
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
    return context

"""Values of Avro, by the schema that a registry has for the id in front of each.

The form is Confluent's: a zero octet, four octets of schema id, the value.
"""

from __future__ import annotations

import json
import ssl
from base64 import b64encode
from functools import cache
from http.client import HTTPException
from io import BytesIO
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, UnavailableError
from tidegate.sources.kafka import access
from tidegate.sources.kafka.values import Read


def avro(endpoint: Endpoint, name: str, timeout: float) -> Read:
    """What reads an Avro value. Raises ConfigError when fastavro or the URL is missing."""
    try:
        from fastavro import parse_schema, schemaless_reader
    except ImportError:
        raise ConfigError(
            f"{name}: value: avro needs the package fastavro, which is not installed. "
            "Install it where the tasks run: pip install fastavro"
        ) from None
    registry = _Registry(endpoint, name, timeout)

    @cache
    def schema(number: int) -> Any:
        text = registry.schema(number)
        try:
            return parse_schema(json.loads(text))
        except Exception as error:  # noqa: BLE001 - whatever fastavro says of such a schema
            raise ValueError(f"its schema cannot be used: {error}") from None

    def read(octets: bytes) -> Any:
        if len(octets) < 5 or octets[0] != 0:
            raise ValueError("it does not begin with the id of a schema")
        known = schema(int.from_bytes(octets[1:5], "big"))
        try:
            return schemaless_reader(BytesIO(octets[5:]), known, None)
        except Exception as error:  # noqa: BLE001 - whatever fastavro says of such octets
            raise ValueError(f"{type(error).__name__}: {error}") from None

    return read


class _Stays(HTTPRedirectHandler):
    """Asks nobody else: the password is for the registry."""

    def redirect_request(self, *_: Any) -> None:
        """No other request; the answer is an error."""


class _Registry:
    """The schema registry of a connection. Raises ConfigError when it has none that is safe."""

    def __init__(self, endpoint: Endpoint, name: str, timeout: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._base = _base(endpoint, name)
        self._where = f"{name}: the schema registry at {self._base}"
        tls = [HTTPSHandler(context=_trust(endpoint))] if self._base.startswith("https:") else []
        self._opener = build_opener(*tls, _Stays())

    def schema(self, number: int) -> str:
        """The text of one; raises ValueError when there is none of that number."""
        said = self._ask(f"{self._base}/schemas/ids/{number}")
        try:
            return str(json.loads(said)["schema"])
        except (ValueError, LookupError, TypeError):
            raise UnavailableError(f"{self._where} answers, but with no schema.") from None

    def _ask(self, url: str) -> bytes:
        asked = Request(url)  # noqa: S310 - its scheme was looked at
        user = self._endpoint.options.get("schema.registry.user")
        if user:
            login = f"{user}:{self._endpoint.options.get('schema.registry.password', '')}"
            asked.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
        try:
            with self._opener.open(asked, timeout=self._timeout) as answer:
                return bytes(answer.read(1 << 24))
        except HTTPError as error:
            error.close()
            if error.code == 404:
                raise ValueError("the registry does not know its schema") from None
            text = f"{self._where} answered {error.code}."
            if error.code in {401, 403}:
                raise RefusedError(f"{text} Check schema.registry.user and its password.") from None
            raise UnavailableError(text) from None
        except (OSError, HTTPException) as error:
            raise self._silence(error) from None

    def _silence(self, error: Exception) -> RefusedError | UnavailableError:
        text = self._endpoint.scrub(error)
        if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
            return RefusedError(
                f"{self._where} is not trusted: {text}. Give ssl.ca.location in the connection's "
                "extra fields."
            )
        return UnavailableError(f"{self._where} does not answer: {text}.")


def _base(endpoint: Endpoint, name: str) -> str:
    """The registry's URL. No error repeats it before it is known to have no password in it."""
    where = f"{name}: schema.registry.url in the extra fields of connection {endpoint.name!r}"
    base = str(endpoint.options.get("schema.registry.url") or "").rstrip("/")
    try:
        parts = urlsplit(base)
        good = bool(parts.hostname) and (parts.port or 1) > 0 and base.isprintable()
    except ValueError:
        parts, good = urlsplit(""), False
    if not good or parts.scheme not in {"http", "https"} or " " in base:
        raise ConfigError(
            f"{where} is missing, or no address. value: avro needs a schema registry, like "
            "https://registry:8081"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"{where} says more than an address. Give schema.registry.user and "
            "schema.registry.password fields of their own."
        )
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    if parts.scheme == "http" and not access.is_local(f"{host}:") and not access.insecure(endpoint):
        raise ConfigError(
            f"{where} is http, which lets others read the password and change the schemas. Write "
            "https, or add insecure: true to the extra fields to do without."
        )
    return base


def _trust(endpoint: Endpoint) -> ssl.SSLContext:
    """The authorities that the brokers' certificates are looked at with, too."""
    place = endpoint.options.get("ssl.ca.location")
    try:
        context = ssl.create_default_context(cafile=str(place) if place else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"connection {endpoint.name!r}: its certificates cannot be read: {error}. Check "
            "ssl.ca.location, which must be a file."
        ) from None
    if access.insecure(endpoint) and not access.verifies(endpoint.options):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

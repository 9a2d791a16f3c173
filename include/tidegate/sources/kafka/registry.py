"""Values of Avro, by the schema that a registry has for the id in front of each.

The form is Confluent's: a zero octet, four octets of schema id, the value.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from io import BytesIO
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, UnavailableError
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
    base = str(endpoint.options.get("schema.registry.url") or "").rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise ConfigError(
            f"{name}: value: avro needs a schema registry. Add schema.registry.url to the extra "
            f"fields of connection {endpoint.name!r}, like https://registry:8081"
        )

    @cache
    def schema(number: int) -> Any:
        said = _ask(endpoint, f"{base}/schemas/ids/{number}", name, timeout)
        return parse_schema(json.loads(json.loads(said)["schema"]))

    def read(octets: bytes) -> Any:
        if len(octets) < 5 or octets[0] != 0:
            raise ValueError("it does not begin with the id of a schema")
        known = schema(int.from_bytes(octets[1:5], "big"))
        return schemaless_reader(BytesIO(octets[5:]), known, None)

    return read


def _ask(endpoint: Endpoint, url: str, name: str, timeout: float) -> bytes:
    asked = Request(url)  # noqa: S310 - its scheme was looked at
    user = endpoint.options.get("schema.registry.user")
    if user:
        login = f"{user}:{endpoint.options.get('schema.registry.password', '')}"
        asked.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    try:
        with urlopen(asked, timeout=timeout) as answer:  # noqa: S310
            return bytes(answer.read(1 << 24))
    except HTTPError as error:
        text = f"{name}: the schema registry answered {error.code} to {url}."
        if error.code == 404:
            raise ValueError("the registry does not know its schema") from None
        if error.code in {401, 403}:
            raise RefusedError(f"{text} Check schema.registry.user and its password.") from None
        raise UnavailableError(text) from None
    except OSError as error:
        raise UnavailableError(
            f"{name}: the schema registry at {url} does not answer: {endpoint.scrub(error)}."
        ) from None

"""How a connection signs in: what its fields become in requests. All secrets come from there.

========================  =======================================================================
login and password        basic
password, or ``token``    bearer
``api_key_header``        the password is sent in the header of this name
``api_key_param``         … or in the query parameter of this name
``token_url``             OAuth 2 client credentials (RFC 6749, 4.4): login is the client's id,
                          the password its secret; ``scope``, ``audience``; ``token_auth: body``
                          sends the two in the body
``headers``               more headers
========================  =======================================================================
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean

EXTRAS = (
    "headers", "token", "token_url", "token_auth", "scope", "audience", "api_key_header",
    "api_key_param", "insecure", "ssl_ca", "path",
)  # fmt: skip
SHOWN = 200
_SECRET_NAME = re.compile(r"auth|cookie|key|token|secret|pass|sign", re.IGNORECASE)


@dataclass(frozen=True)
class OAuth:
    """Where tokens are given out, and to whom."""

    url: str
    client: str
    secret: str = field(repr=False)
    form: Mapping[str, str] = field(default_factory=dict)
    in_body: bool = False


@dataclass(frozen=True)
class Credentials:
    """*headers* and *params* go with every request; *oauth* says that a token does, too."""

    endpoint: Endpoint
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    oauth: OAuth | None = None

    def scrub(self, text: object, *tokens: str) -> str:
        """*text* without the connection's secrets, those in its headers, and *tokens*."""
        hidden = {
            f"token {name}": value.removeprefix("Bearer ").removeprefix("Basic ")
            for name, value in self.headers.items()
            if _SECRET_NAME.search(name)
        }
        hidden |= {f"token {place}": token for place, token in enumerate(tokens)}
        options = {**self.endpoint.options, **hidden}
        return replace(self.endpoint, options=options).scrub(text)

    def start(self, text: object, *tokens: str) -> str:
        """The beginning of *text*, scrubbed, in one line."""
        line = " ".join(self.scrub(text, *tokens).split())
        return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def credentials(endpoint: Endpoint) -> Credentials:
    """Those of a connection. Raises ConfigError."""
    options = endpoint.options
    for name in options:
        if name not in EXTRAS:
            raise ConfigError(
                f"connection {endpoint.name!r}: its extra field {name!r} is not known."
                f"{did_you_mean(name, EXTRAS)} Headers go into 'headers', a mapping."
            )
    headers = _headers(endpoint)
    secret = str(options.get("token") or endpoint.password or "")
    if url := options.get("token_url"):
        return Credentials(endpoint, headers, {}, _oauth(endpoint, str(url)))
    if header := options.get("api_key_header"):
        return Credentials(endpoint, {**headers, str(header): _present(endpoint, secret)})
    if param := options.get("api_key_param"):
        return Credentials(endpoint, headers, {str(param): _present(endpoint, secret)})
    if endpoint.user and not options.get("token"):
        pair = b64encode(f"{endpoint.user}:{secret}".encode()).decode()
        return Credentials(endpoint, {"Authorization": f"Basic {pair}", **headers})
    if secret:
        return Credentials(endpoint, {"Authorization": f"Bearer {secret}", **headers})
    return Credentials(endpoint, headers)


def _oauth(endpoint: Endpoint, url: str) -> OAuth:
    options = endpoint.options
    form = {name: str(options[name]) for name in ("scope", "audience") if options.get(name)}
    return OAuth(
        url, endpoint.user or "", _present(endpoint, endpoint.password or ""), form,
        options.get("token_auth") == "body",
    )  # fmt: skip


def _present(endpoint: Endpoint, secret: str) -> str:
    if not secret:
        raise ConfigError(
            f"connection {endpoint.name!r}: it has no password. The key or the client's secret "
            "belongs there."
        )
    return secret


def _headers(endpoint: Endpoint) -> dict[str, str]:
    found: Any = endpoint.options.get("headers") or {}
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            found = None
    if not isinstance(found, Mapping) or not all(map(is_header, found, found.values())):
        raise ConfigError(
            f"connection {endpoint.name!r}: its extra field 'headers' is not a mapping of names to "
            'texts. Write {"headers": {"X-Tenant": "north"}}'
        )
    return {str(name): str(value) for name, value in found.items()}


def is_header(name: Any, value: Any) -> bool:
    """Whether a request may carry a header *name* that says *value*."""
    return (
        re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", str(name)) is not None
        and isinstance(value, str | int)
        and re.fullmatch(r"[\x20-\x7e]*", str(value)) is not None
    )

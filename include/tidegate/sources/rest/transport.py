"""Bytes over one guarded connection: no cookies, no proxies, no redirects of its own accord.

httpx's transport is used below its client, which writes every address, with the keys in it, into
the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import httpx

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.sources.rest.ask import Answer, Ask
from tidegate.sources.web.address import Address, trust

CONNECT = 5.0
"""Seconds to connect."""
ANSWER = 10
"""A whole answer takes at most so many times the longest silence."""
MEGABYTE = 1_000_000
_BEGINNING = 10_000
"""Octets of an answer that nobody wants, kept for a message."""


class Transport:
    """*silence* is the longest wait for more octets, in seconds; *limit* the largest answer."""

    def __init__(self, endpoint: Endpoint, silence: float, limit: int, where: str) -> None:
        self._http = httpx.HTTPTransport(verify=trust(endpoint), trust_env=False)
        self._silence = silence
        self._limit = limit
        self._where = where

    def close(self) -> None:
        """Close what is open."""
        self._http.close()

    def fetch(self, ask: Ask, address: Address, headers: Mapping[str, str]) -> Answer:
        """The answer to *ask* as text. Raises httpx.TransportError, ConfigError, RefusedError."""
        request = self._request(ask, address, headers)
        response = self._http.handle_request(request)
        response.request = request
        try:
            text = self._read(response, monotonic() + self._silence * ANSWER)
        finally:
            response.close()
        told = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, str(request.url), told, text=text)

    def _request(self, ask: Ask, address: Address, headers: Mapping[str, str]) -> httpx.Request:
        def trace(event: str, info: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                peer = info["return_value"].get_extra_info("server_addr")
                address.admit(self._where, str(peer[0]))

        url = httpx.URL(ask.url)
        timeout = httpx.Timeout(self._silence, connect=min(CONNECT, self._silence))
        return httpx.Request(
            ask.method,
            url.copy_merge_params(dict(ask.params)) if ask.params else url,
            headers={"Accept": "application/json", "Accept-Encoding": "gzip, deflate", **headers},
            content=ask.content,
            extensions={"timeout": timeout.as_dict(), "trace": trace},
        )

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        limit = self._limit if response.is_success else _BEGINNING
        found = bytearray()
        for piece in response.iter_bytes():
            found += piece
            if len(found) > limit:
                if not response.is_success:
                    break
                raise ConfigError(
                    f"{self._where}: an answer is larger than {limit // MEGABYTE} MB. Ask for "
                    "smaller pages (pages.size), or raise max_megabytes."
                )
            if monotonic() > deadline:
                raise httpx.ReadTimeout("an answer that takes too long as a whole")
        return bytes(found)

"""Bytes over one guarded connection: no cookies, no proxies, no redirects of its own accord.

httpx's transport is used below its client, which writes every address, with the keys in it, into
the log.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from time import monotonic
from typing import Any

import httpx

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError
from tidegate.sources.rest.ask import Answer, Ask
from tidegate.sources.web.address import Address, trust

logging.getLogger("httpcore").setLevel(logging.INFO)  # below that it writes down headers
CONNECT = 5.0
"""Seconds to connect."""
ANSWER = 10
"""A whole answer takes at most so many times the longest silence."""
MEGABYTE = 1_000_000
_BEGINNING = 10_000
"""Octets of an answer that nobody wants, kept for a message."""
_GZIP = 31
"""zlib's number for gzip with a window of any size."""


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
                line = info["return_value"]
                try:
                    address.admit(self._where, str(line.get_extra_info("server_addr")[0]))
                except RefusedError:
                    line.close()
                    raise

        url = httpx.URL(ask.url)
        timeout = httpx.Timeout(self._silence, connect=min(CONNECT, self._silence))
        return httpx.Request(
            ask.method,
            url.copy_merge_params(dict(ask.params)) if ask.params else url,
            headers={"Accept": "application/json", "Accept-Encoding": "gzip", **headers},
            content=ask.content,
            extensions={"timeout": timeout.as_dict(), "trace": trace},
        )

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        limit = self._limit if response.is_success else _BEGINNING
        found, octets = bytearray(), _Octets(response.headers.get("content-encoding", ""))
        for raw in response.iter_raw():
            if monotonic() > deadline:
                raise httpx.ReadTimeout("an answer that takes too long as a whole")
            found += octets.read(raw, limit + 1 - len(found))
            if len(found) > limit:
                if not response.is_success:
                    return bytes(found)
                raise ConfigError(
                    f"{self._where}: an answer is larger than {limit // MEGABYTE} MB. Ask for "
                    "smaller pages (pages.size), or raise max_megabytes."
                )
        octets.end()
        return bytes(found)


class _Octets:
    """What a body was before it was compressed, never more than asked for: a bomb stays small.

    Answers to HEAD, 204 and 304 tell of a compression, and have no body (RFC 9110, 8.6): no octets
    are whole in whatever way they are compressed.
    """

    def __init__(self, encoding: str) -> None:
        self._name = encoding.strip().lower()
        self._plain = self._name in {"", "identity"}
        self._gzip = zlib.decompressobj(_GZIP)
        self._begun = False

    def read(self, raw: bytes, most: int) -> bytes:
        """At most *most* octets out of *raw*; what lies behind them is not looked at."""
        if self._plain:
            return raw
        if self._name not in {"gzip", "x-gzip"}:
            raise httpx.DecodingError(f"its octets are compressed in an unknown way: {self._name}")
        self._begun = True
        found = bytearray()
        try:
            while raw and len(found) < most:
                if self._gzip.eof:  # one more member
                    self._gzip = zlib.decompressobj(_GZIP)
                found += self._gzip.decompress(raw, most - len(found))
                raw = self._gzip.unconsumed_tail or self._gzip.unused_data
        except zlib.error as error:
            raise httpx.DecodingError(
                f"its octets are not compressed as they say: {error}"
            ) from None
        return bytes(found)

    def end(self) -> None:
        """Raise DecodingError when something is missing."""
        if self._begun and not self._gzip.eof:
            raise httpx.DecodingError("its compressed octets end too early")

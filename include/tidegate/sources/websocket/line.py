"""One connection to a WebSocket server; whatever goes wrong becomes an error of ours."""

from __future__ import annotations

import json
import logging
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    WebSocketException,
)
from websockets.sync.client import ClientConnection, connect

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources.web.address import Address, address, trust
from tidegate.sources.web.credentials import Credentials, credentials

CONNECT = 5.0
OPEN = 15.0
"""Seconds for the TCP connection, and for the handshakes behind it."""
NORMAL = 1000
"""The server has said all that it had to say (RFC 6455, 7.4.1)."""
_REFUSALS = {1008, 3000, 3003, 4401, 4403}
"""Against its policy, unauthorized, forbidden; and what many write for HTTP 401 and 403."""
_MEGABYTE = 1_000_000
_silent = logging.getLogger("tidegate.websocket.silent")
_silent.disabled = True
"""The library's own log shows headers, and so tokens."""


class Line:
    """Where a connection leads. :meth:`open` gives one that works, or raises an error of ours."""

    def __init__(self, endpoint: Endpoint, name: str, megabytes: int) -> None:
        self._endpoint = endpoint
        self._address: Address = address(endpoint, "ws", "wss")
        self._credentials: Credentials = credentials(endpoint)
        self._size = megabytes * _MEGABYTE
        self.where = f"{name}: {self._address.place}"
        if self._credentials.oauth:
            raise ConfigError(
                f"connection {endpoint.name!r}: token_url is not for WebSockets. Give a token as "
                "its password."
            )

    def open(self) -> ClientConnection:
        """A connection; redirects are not followed, proxies not asked."""
        there = self._address
        url = there.url("")
        if self._credentials.params:
            url += f"{'&' if '?' in url else '?'}{urlencode(self._credentials.params)}"
        try:
            plain = socket.create_connection((there.host, there.port), CONNECT)
        except OSError as error:
            raise self.lost(error) from None
        try:
            there.admit(self.where, str(plain.getpeername()[0]))
            plain.settimeout(None)
            return connect(
                url, sock=plain, ssl=trust(self._endpoint) if there.secure else None,
                server_hostname=there.host if there.secure else None,
                additional_headers=dict(self._credentials.headers), proxy=None, open_timeout=OPEN,
                close_timeout=1, max_size=self._size, logger=_silent, legacy=True,
            )  # fmt: skip
        except (OSError, WebSocketException) as error:
            plain.close()
            raise self.lost(error) from None
        except BaseException:
            plain.close()
            raise

    def lost(self, error: BaseException) -> TidegateError:
        """What a failure of connecting, sending or hearing means."""
        text = self.start(str(error) or type(error).__name__)
        if isinstance(error, InvalidStatus):
            return self._status(error.response.status_code, bytes(error.response.body or b""))
        if isinstance(error, ssl.SSLCertVerificationError):
            return RefusedError(
                f"{self.where}: no trusted TLS connection: {text}. Give ssl_ca in the "
                "connection's extra fields, or insecure: true to do without."
            )
        if isinstance(error, ConnectionClosed):
            return self._closed(error)
        cut = isinstance(error, InvalidMessage) and isinstance(error.__cause__, EOFError | OSError)
        if isinstance(error, InvalidHandshake) and not cut:
            return ConfigError(f"{self.where} is no WebSocket server: {text}. Check host and path.")
        return UnavailableError(f"{self.where} does not answer: {text}.")

    def start(self, text: object) -> str:
        """The beginning of *text* for a message, without secrets."""
        return self._credentials.start(text)

    def _status(self, status: int, body: bytes) -> TidegateError:
        said = self.start(body.decode("utf-8", "replace"))
        text = f"{self.where} answers HTTP {status}: {said!r}."
        if status in {401, 403, 407}:
            return RefusedError(f"{text} Check the connection's password and extra fields.")
        if status in {408, 425, 429} or status >= 500:
            return UnavailableError(text)
        return ConfigError(f"{text} Check the connection's host, schema (the path) and port.")

    def _closed(self, error: ConnectionClosed) -> TidegateError:
        said = error.rcvd
        if said is not None and said.code in _REFUSALS:
            return RefusedError(
                f"{self.where} hangs up ({said.code}): {self.start(said.reason)!r}. Check the "
                "connection's password, and 'subscribe:'."
            )
        sent = error.sent
        if said is None and sent is not None and sent.code == 1009:
            return ConfigError(
                f"{self.where}: a message is larger than {self._size // _MEGABYTE} MB. Raise "
                "max_megabytes."
            )
        return UnavailableError(f"{self.where} hung up: {self.start(error)}.")


def text_of(message: str | Mapping[str, Any]) -> str:
    """What is sent: a text as it is, a mapping as JSON."""
    return message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)


def ended(error: ConnectionClosed) -> bool:
    """Whether the server closed because it has said everything."""
    return error.rcvd is not None and error.rcvd.code == NORMAL

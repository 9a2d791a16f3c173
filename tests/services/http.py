"""An HTTP peer in a thread: lists by every kind of page, sign-in, and faults that a test turns on.

It is a server of its own on a real socket, and knows nothing of the product. A fault is a function
of the request's handler; it waits in ``faults`` for the next request of a list (or of the path it
was given) and answers in its stead. ``asked`` tells what was asked for.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

LISTS = ("/plain", "/nested", "/pages", "/offset", "/cursor", "/link", "/next", "/graphql")
LIFE = 3600


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    params: dict[str, str]
    headers: Mapping[str, str]
    body: Any = None


Fault = Callable[["Handler"], None]


@dataclass
class Site:
    """What the peer knows.

    rows     the list, in its order
    sign_in  what a request must carry: a function of it that says whether it may
    after    called after every page that was given, with the number of pages so far
    clock    seconds that the peer's clock is wrong; None: it tells no time
    head     what HEAD is answered, when not what GET is
    changed  what Last-Modified says
    life     seconds that a new OAuth token lives
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    faults: list[tuple[str | None, Fault]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    sign_in: Callable[[Asked], bool] = lambda _: True
    after: Callable[[int], None] = lambda _: None
    clock: float | None = 0.0
    head: Fault | None = None
    etag: str | None = None
    changed: str | None = None
    zipped: bool = False
    life: float = LIFE
    issued: list[str] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    pages: int = 0

    def fail(self, fault: Fault, times: int = 1, path: str | None = None) -> None:
        """The next *times* requests (of *path*) meet *fault*."""
        self.faults += [(path, fault)] * times

    def lists(self) -> list[Asked]:
        """The requests of lists, without those that asked for no body."""
        return [one for one in self.asked if one.path in LISTS and one.method != "HEAD"]


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other on one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    site: Site
    asked: Asked

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(time.time() + (self.site.clock or 0), usegmt=True)

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)
        if self.site.clock is not None:
            self.send_header("Date", self.date_time_string())

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length)
        is_json = "json" in self.headers.get("Content-Type", "")
        body = json.loads(text) if is_json and text else dict(parse_qsl(text.decode()))
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Asked(self.command, parts.path, params, headers, body)
        self.site.asked.append(self.asked)
        if fault := self._fault():
            fault(self)
        elif parts.path == "/token":
            self._token(body)
        elif not self.site.sign_in(self.asked):
            self.say({"message": "who are you?"}, 401)
        elif parts.path in LISTS:
            getattr(self, f"_{parts.path[1:]}")(params)
        else:
            self.say({"message": f"there is nothing at {parts.path}"}, 404)

    def _fault(self) -> Fault | None:
        if self.command == "HEAD":
            return self.site.head
        for place, (path, fault) in enumerate(self.site.faults):
            if path == self.asked.path or (path is None and self.asked.path in LISTS):
                del self.site.faults[place]
                return fault
        return None

    def say(
        self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> None:  # fmt: skip
        text = value if isinstance(value, bytes) else spell(value).encode()
        self.send_response(status)
        if self.site.zipped:
            text = gzip.compress(text)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        for name, content in (headers or {}).items():
            self.send_header(name, content)
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(text)

    # Lists ---------------------------------------------------------------------------------------

    def _rows(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        since, until = (read(params.get(name)) for name in ("since", "until"))
        return [
            row
            for row in list(self.site.rows)
            if (since is None or read(row["changed"]) >= since)  # type: ignore[operator]
            and (until is None or read(row["changed"]) < until)  # type: ignore[operator]
        ]

    def _given(self) -> None:
        if self.command != "HEAD":
            self.site.pages += 1
            self.site.after(self.site.pages)

    def _plain(self, params: dict[str, str]) -> None:
        told = {"ETag": self.site.etag, "Last-Modified": self.site.changed}
        named = {name: value for name, value in told.items() if value}
        asked = {self.asked.headers.get(f"if-{name}") for name in ("none-match", "modified-since")}
        if asked & {*named.values()}:
            self.say(b"", 304, named)
        else:
            self.say(self._rows(params), headers=named)

    def _nested(self, params: dict[str, str]) -> None:
        self.say({"ok": True, "data": {"items": self._rows(params)}})

    def _pages(self, params: dict[str, str]) -> None:
        page, size = int(params.get("page", "1")), int(params.get("per_page", "3"))
        self.say(self._rows(params)[(page - 1) * size : page * size])
        self._given()

    def _offset(self, params: dict[str, str]) -> None:
        start, size = int(params.get("offset", "0")), int(params.get("limit", "3"))
        self.say(self._rows(params)[start : start + size])
        self._given()

    def _cursor(self, params: dict[str, str]) -> None:
        rows, after = self._after(params, params.get("cursor"), int(params.get("limit", "3")))
        self.say({"data": rows, "meta": {"next": after}}, headers={"X-Next": after or ""})
        self._given()

    def _link(self, params: dict[str, str]) -> None:
        rows, after = self._after(params, params.get("after"), int(params.get("limit", "3")))
        more = {"Link": f'<{self._again(params, after)}>; rel="next", </link>; rel="first"'}
        self.say(rows, headers=more if after else None)
        self._given()

    def _next(self, params: dict[str, str]) -> None:
        rows, after = self._after(params, params.get("after"), int(params.get("limit", "3")))
        self.say({"rows": rows, "links": {"next": after and self._again(params, after)}})
        self._given()

    def _graphql(self, params: dict[str, str]) -> None:
        if "query" not in self.asked.body:
            self.say({"errors": [{"message": "there is no query"}], "data": None})
            return
        variables = self.asked.body.get("variables") or {}
        rows, after = self._after(variables, variables.get("after"), 3)
        info = {"endCursor": after or "end", "hasNextPage": after is not None}
        self.say({"data": {"orders": {"nodes": rows, "pageInfo": info}}})

    def _after(
        self, params: Mapping[str, Any], after: str | None, size: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Keyset pages: rows behind the id in the token, in the order of ids."""
        rows = sorted(self._rows(params), key=lambda row: int(row["id"]))
        if after:
            last = int(base64.urlsafe_b64decode(after))
            rows = [row for row in rows if int(row["id"]) > last]
        token = base64.urlsafe_b64encode(str(rows[size - 1]["id"]).encode()).decode() if (
            len(rows) > size
        ) else None  # fmt: skip
        return rows[:size], token

    def _again(self, params: Mapping[str, str], after: str | None) -> str:
        query = "&".join(f"{k}={quote(v)}" for k, v in {**params, "after": after or ""}.items())
        return f"{self.asked.path}?{query}"

    def _token(self, form: Mapping[str, str]) -> None:
        pair = base64.b64encode(b"client:the+secret%21").decode()
        if self.asked.headers.get("authorization") != f"Basic {pair}":
            self.say({"error": "invalid_client"}, 401)
            return
        token = f"tok-{len(self.site.issued)}-of-{form.get('scope', 'all')}"
        self.site.issued.append(token)
        self.say({"access_token": token, "token_type": "Bearer", "expires_in": int(self.site.life)})


class HttpPeer:
    """Listens on 127.0.0.1 until it is closed; *certificate* is a file with its key: by TLS."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.site = Site()
        handler = type("Here", (Handler,), {"site": self.site})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


# Faults ----------------------------------------------------------------------------------------


def status(code: int, body: Any = None, **headers: str) -> Fault:
    """A status, with headers (``Retry_After="1"``)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.say(body or {"message": f"status {code}"}, code, named)


def body(value: Any, kind: str = "application/json") -> Fault:
    """200, and something else."""
    return lambda handler: handler.say(value, kind=kind)


def reset(handler: Handler) -> None:
    """The connection is reset in the midst of a page."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'[{"id": 1, ')
    handler.wfile.flush()
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.connection.close()


def cut(handler: Handler) -> None:
    """Fewer octets than Content-Length says."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'[{"id": 1}]')
    handler.close_connection = True


def truncated(handler: Handler) -> None:
    """JSON that ends too early, and a Content-Length that fits."""
    handler.say(b'[{"id": 1, "name": "half')


def drip(handler: Handler) -> None:
    """An octet now and then, for ever: silence is never long."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        handler.close_connection = True


def silent(handler: Handler) -> None:
    """Nothing comes."""
    handler.connection.settimeout(10)
    handler.rfile.read(1)
    handler.close_connection = True


def huge(handler: Handler) -> None:
    """An answer without end, compressed a thousandfold."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Connection", "close")
    handler.end_headers()
    piece = gzip.compress(b" " * 1_000_000)
    try:
        while True:
            handler.wfile.write(piece)
    except OSError:
        handler.close_connection = True


# Values ----------------------------------------------------------------------------------------


def spell(value: Any) -> str:
    """JSON; Decimals with all their digits."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(name))}: {spell(item)}" for name, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(spell, value)) + "]"
    return json.dumps(value)


def read(value: Any) -> float | None:
    """A time as a parameter or a row has it: ISO, or seconds or milliseconds since 1970."""
    if value is None:
        return None
    text = str(value)
    if text.lstrip("-").isdecimal():
        return int(text) / (1000 if len(text) > 11 else 1)
    return datetime.fromisoformat(text).timestamp()

"""A request before it is sent; an answer when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tidegate.sources.rest.options import RestStream, Value
from tidegate.sources.web import templates


@dataclass(frozen=True, slots=True)
class Ask:
    """*url* has no query but what a link to it had; *params* are added to it."""

    method: str
    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    form: bytes | None = None

    @property
    def content(self) -> bytes | None:
        """What is posted."""
        if self.body is None:
            return self.form
        return json.dumps(self.body, ensure_ascii=False).encode()

    def put(self, name: str, value: Value) -> Ask:
        """The same with a parameter: in the body, where there is one, at the path *name*."""
        if self.body is not None:
            return replace(self, body=templates.put(self.body, name.split("."), value))
        return replace(self, params={**self.params, name: spell(value)})

    def get(self, name: str) -> Any:
        """What the parameter says; None: nothing."""
        return self.params.get(name) if self.body is None else templates.at(self.body, name)

    def at(self, url: str) -> Ask:
        """The same at an address that says its parameters itself."""
        return replace(self, url=url, params={})


def first(stream: RestStream, url: str) -> Ask:
    """The request that *stream* describes."""
    request = stream.request
    params = {name: spell(value) for name, value in request.params.items()}
    return Ask(request.method, url, params, request.headers, request.body)


def spell(value: Value) -> str:
    """*value* in a query."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Answer:
    """*headers* have lower-case names; *body* is JSON that was read, None when there was none."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: Any = None
    text: bytes = b""

    @property
    def date(self) -> datetime | None:
        """The server's clock when it answered, seconds."""
        return moment(self.headers.get("date", ""))


def moment(text: str) -> datetime | None:
    """An HTTP date; None when it is none."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)

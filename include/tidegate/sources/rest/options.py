"""What a stream of a REST list may say. Light: a DAG file is parsed with it."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tidegate.fields import ColumnName, Duration, Strict
from tidegate.pipeline.models import Settings
from tidegate.sources.rows.options import DeclaredStream, Path

_RATE = re.compile(r"([1-9][0-9]{0,5})\s*/\s*([smh])")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_OURS = re.compile(
    r"authorization|cookie|proxy-.*|host|content-length|transfer-encoding|.*(token|api-?key).*",
    re.IGNORECASE,
)


def _below(path: str) -> str:
    if not path.isprintable() or re.search(r"[\s\\#?]|^//|://|(^|/)\.\.?(/|$)", path):
        raise ValueError(
            f"{path[:80]!r} is not a path below the connection's address. Write it like "
            "/v1/orders; what stands behind a question mark goes into 'params:'"
        )
    return path


def _rate(text: str) -> str:
    if not _RATE.fullmatch(text.strip()):
        raise ValueError(
            f"{text[:40]!r} is not a rate. Write requests per second, like 5/s; or /m, /h"
        )
    return text


def _header(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"{name[:40]!r} is not the name of a header, like Accept-Language")
    if _OURS.fullmatch(name):
        raise ValueError(
            f"header {name!r} is not one for this file. Secrets belong into the connection: its "
            "password, or 'headers' among its extra fields"
        )
    return name


HttpPath = Annotated[str, AfterValidator(_below), Field(examples=["/v1/orders"])]
Rate = Annotated[str, AfterValidator(_rate), Field(examples=["5/s", "100/m"])]
Value = str | int | bool
HeaderName = Annotated[str, AfterValidator(_header)]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]


def interval(rate: str) -> float:
    """``"5/s"`` → 0.2: seconds between two requests."""
    match = _RATE.fullmatch(rate.strip())
    return _UNITS[match[2]] / int(match[1]) if match else 0.0


class Request(Strict):
    """What is asked for."""

    path: HttpPath = Field(description="below the connection's address")
    method: Literal["GET", "POST"] = Field("GET", description="POST only where it changes nothing")
    params: dict[str, Value] = Field({}, description="query parameters")
    headers: dict[HeaderName, HeaderValue] = Field({}, description="headers that are no secrets")
    body: dict[str, Any] | None = Field(
        None, description="JSON to post; for GraphQL: {query: …, variables: {…}}"
    )

    @model_validator(mode="after")
    def _posts_its_body(self) -> Self:
        if self.body is not None and self.method != "POST":
            raise ValueError("a body is sent by POST. Write method: POST")
        return self


def _request(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class OnePage(Strict):
    """The whole list is one answer."""

    by: Literal["none"] = Field("none", description="one answer has all")


class ByPage(Strict):
    """Pages have numbers."""

    by: Literal["page"] = Field(description="page numbers")
    param: str = Field("page", description="parameter with the page's number")
    first: int = Field(1, ge=0, description="number of the first page")
    size_param: str | None = Field(None, description="parameter with the size of a page")
    size: int = Field(100, ge=1, description="rows in a page, for size_param")
    passes: int = Field(
        3, ge=1, le=10,
        description="the list is read until two readings in a row have the same keys, at most so "
        "often; 1: once, for lists in which no row ever changes its place",
    )  # fmt: skip


class ByOffset(Strict):
    """Pages begin behind a number of rows."""

    by: Literal["offset"] = Field(description="how many rows to leave out")
    param: str = Field("offset", description="parameter with the number of rows to leave out")
    size_param: str | None = Field("limit", description="parameter with the size of a page")
    size: int = Field(100, ge=1, description="rows in a page, for size_param")
    passes: int = Field(3, ge=1, le=10, description="as for by: page")


class ByCursor(Strict):
    """Each answer has a token for the next."""

    by: Literal["cursor"] = Field(description="a token in the answer leads to the next page")
    param: str = Field("cursor", description="parameter that takes the token")
    at: Path | None = Field(None, description="where in the answer's body it is, like meta.next")
    header: str | None = Field(None, description="in which of the answer's headers it is")
    more: Path | None = Field(
        None, description="where the body says true if there are more pages, like meta.has_more"
    )
    size_param: str | None = Field(None, description="parameter with the size of a page")
    size: int = Field(100, ge=1, description="rows in a page, for size_param")

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if (self.at is None) == (self.header is None):
            raise ValueError("by: cursor needs either at: (a path in the body) or header: (a name)")
        return self


class ByLink(Strict):
    """Each answer has the address of the next."""

    by: Literal["link"] = Field(description="an address in the answer leads to the next page")
    at: Path | None = Field(
        None, description="where in the body it is; default: the header Link with rel=next"
    )
    size_param: str | None = Field(None, description="parameter with the size of a page")
    size: int = Field(100, ge=1, description="rows in a page, for size_param")


Pages = Annotated[OnePage | ByPage | ByOffset | ByCursor | ByLink, Field(discriminator="by")]


class RestSettings(Settings):
    """What ``defaults:`` and a stream of a REST list may both set."""

    rate: Rate | None = Field(None, description="at most so many requests per s, m or h in a run")
    request_timeout: Duration = Field(
        "30s", description="longest silence in the midst of an answer"
    )
    patience: Duration = Field(
        "1m", description="how long a run puts up with errors 5xx, silence and lost connections"
    )
    max_megabytes: int = Field(100, ge=1, le=2000, description="largest answer")
    max_pages: int = Field(10_000, ge=1, description="pages of a list that a run reads at most")


class RestStream(RestSettings, DeclaredStream):
    """A list that a server gives as JSON, read whole or by a cursor parameter."""

    reads: ClassVar[str] = "request"

    request: Annotated[Request, BeforeValidator(_request, json_schema_input_type=str | Request)] = (
        Field(
            description="a path below the connection's address; or a mapping with more",
            examples=["/v1/orders"],
        )
    )
    rows: Path | None = Field(
        None, description="where in the answer the list is, like data.items; default: it is all"
    )
    error_at: Path | None = Field(
        None,
        description="where an answer 200 tells of an error, if it is one; for GraphQL: errors",
    )
    pages: Pages = Field(OnePage(by="none"), description="how one page leads to the next")
    cursor: ColumnName | None = Field(
        None, description="the column that orders changes; default: the whole list in every run"
    )
    since: str | None = Field(
        None,
        description="parameter that asks for changes from a time on, like updated_since; where the "
        "request has a body, a path into it, like variables.since",
    )
    until: str | None = Field(None, description="parameter that asks for changes before a time")
    times: Literal["iso", "seconds", "milliseconds", "day"] = Field(
        "iso", description="how since and until are written: 2026-03-01T00:00:00Z, or since 1970"
    )
    lookback: Duration = Field("1m", description="read again this far below the server's clock")
    snapshot: bool = Field(
        False, description="rows that the whole list no longer has are gone: they become tombstones"
    )
    complete: bool = Field(
        True,
        description="the list without since is all that there is; false: it forgets old rows, so "
        "it cannot be compared with the store",
    )

    @property
    def what(self) -> str:
        """Method and path."""
        return f"{self.request.method} {self.request.path}"

    @property
    def snapshots(self) -> bool:
        """Whether what a run does not see is gone."""
        return self.snapshot

    @property
    def has_windows(self) -> bool:
        """Whether the server can be asked for changes between two times."""
        return self.until is not None

    @property
    def verifies(self) -> bool:
        """Only against a list that is complete."""
        return self.complete and super().verifies

    @property
    def error_path(self) -> Path | None:
        """Where errors are told; GraphQL has a place for them (its specification, 7.1)."""
        graphql = self.request.body is not None and "query" in self.request.body
        return self.error_at or ("errors" if graphql else None)

    @model_validator(mode="after")
    def _has_a_whole_cursor(self) -> Self:
        if (self.cursor is None) != (self.since is None):
            raise ValueError(
                "cursor and since belong together: the column that orders changes, and the "
                "parameter that asks for those from a time on. Write both, or none"
            )
        if self.until and not self.since:
            raise ValueError("until needs since and cursor. Write all three, or none")
        if self.cursor is not None:
            self._require_moment(self.cursor)
        if self.backfill.by not in {None, self.cursor}:
            raise ValueError(
                f"backfill.by: {self.backfill.by!r} is not the cursor, and the server knows no "
                "other. Leave it out"
            )
        if self.snapshot and self.cursor:
            raise ValueError(
                "snapshot reads the whole list, a cursor what changed. Write one of them"
            )
        if (self.snapshot or self.deletes.full) and not self.complete:
            raise ValueError("what is gone is seen in a complete list only, and complete: is false")
        return self

    def _require_moment(self, cursor: str) -> None:
        if cursor not in self.columns:
            raise ValueError(
                f"cursor: column {cursor!r} is not among the columns. Declare it there"
            )
        kind = self.types[cursor].name
        if kind != "timestamp" and not (kind == "int64" and self.times in _EPOCHS):
            raise ValueError(
                f"cursor: column {cursor!r} is of type {kind}. Declare it as timestamp; or as "
                "int64 with times: seconds or milliseconds"
            )


_EPOCHS = {"seconds", "milliseconds"}

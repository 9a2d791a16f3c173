"""REST lists: by links from page to page, and by page numbers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from services import PASSWORD, USER
from services.http import Asked, HttpPeer
from sources.contract.peer import COLUMNS, Peer, Row
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources.rest.options import RestStream

_PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class RestList(Peer):
    """A list with a cursor parameter, whose pages lead to each other."""

    kind = "rest"
    title = "REST list, by link"
    path: ClassVar[str] = "/link"
    pages: ClassVar[dict[str, Any]] = {"by": "link"}
    cannot = {
        "deletions_arrive": "a list does not tell: verification, or a soft-delete column",
        "a_forgotten_position_is_an_error": "a list forgets no position: a time is asked for",
        "nothing_is_acknowledged_before_it_is_durable": "a list acknowledges nothing",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.peer = HttpPeer()
        self.peer.site.sign_in = _knows

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("shop", "http", "127.0.0.1", self.peer.port, USER, PASSWORD, "http")

    def stream(self, **more: Any) -> Stream:
        given = {
            "request": self.path, "primary_key": "id", "columns": COLUMNS, "cursor": "changed",
            "since": "since", "until": "until", "lookback": "5m", "patience": "0s",
            "pages": self.pages,
        }  # fmt: skip
        return RestStream.model_validate({**given, **more})

    def put(self, rows: Sequence[Row]) -> None:
        known = {row["id"]: row for row in self.peer.site.rows}
        for row in rows:
            known[row.id] = {
                "id": row.id, "name": row.name, "amount": row.amount,
                "changed": row.changed.isoformat(timespec="microseconds"),
            }  # fmt: skip
        self.peer.site.rows = list(known.values())

    def unreachable(self) -> Endpoint:
        return replace(self.endpoint, port=1)

    def refused(self) -> Endpoint:
        return replace(self.endpoint, password="not the w0rd")

    def close(self) -> None:
        self.peer.close()


class RestPages(RestList):
    """The same list by page numbers."""

    title = "REST list, by page number"
    path = "/pages"
    pages = {"by": "page"}


class RestWhole(RestList):
    """A list that knows no parameter: every run reads all of it."""

    title = "REST list read whole"
    path = "/plain"
    pages = {"by": "none"}
    cannot = {
        "then_only_the_new_comes": "every run reads the whole list",
        "with_nothing_new_nothing_comes": "every run reads the whole list; the store sees that "
        "nothing is new",
        **{name: why for name, why in RestList.cannot.items() if name != "deletions_arrive"},
    }

    def stream(self, **more: Any) -> Stream:
        given = {
            "request": self.path, "primary_key": "id", "columns": COLUMNS, "snapshot": True,
            "pages": self.pages, "patience": "0s", "deletes": {"brake": "50%"},
        }  # fmt: skip
        return RestStream.model_validate({**given, **more})

    def delete(self, ids: Sequence[int]) -> None:
        self.peer.site.rows = [row for row in self.peer.site.rows if row["id"] not in ids]


def _knows(asked: Asked) -> bool:
    return asked.headers.get("authorization") == f"Basic {_PAIR}"


PEERS = [RestList, RestPages, RestWhole]

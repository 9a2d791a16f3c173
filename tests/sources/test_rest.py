"""REST lists against a hostile peer: whatever it does, nothing is lost, and the error is right."""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services import http, tls
from services.http import Asked, Fault, HttpPeer, Site
from sources.contract.peer import Row, old
from sources.contract.world import NAME, Reading, World
from sources.peers.rest import RestList
from tidegate.connections import Endpoint, parse
from tidegate.errors import (
    ConfigError,
    RefusedError,
    TidegateError,
    UnavailableError,
)
from tidegate.model import Mode, Watermark, Window
from tidegate.sources import open_source
from tidegate.sources.rest.ask import Ask
from tidegate.sources.rest.clocks import Clock
from tidegate.sources.rest.options import RestStream
from tidegate.sources.rest.paging import next_link
from tidegate.sources.web.address import address

TRIALS = int(os.environ.get("TIDEGATE_TEST_REST_TRIALS", "3"))
SECRET = "the secret!"
COLUMNS = {"id": "int64", "name": "string", "changed": "timestamp"}
CURSOR = {"cursor": "changed", "since": "since", "until": "until", "lookback": "5m"}
PAGES: dict[str, dict[str, Any]] = {
    "/pages": {"by": "page", "size_param": "per_page", "size": 3},
    "/offset": {"by": "offset", "size": 3},
    "/cursor": {"by": "cursor", "at": "meta.next", "size_param": "limit", "size": 3},
    "/link": {"by": "link"},
    "/next": {"by": "link", "at": "links.next"},
}
ROWS = {"/cursor": "data", "/next": "rows", "/nested": "data.items"}


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    made = HttpPeer()
    yield made
    made.close()


@pytest.fixture
def site(peer: HttpPeer) -> Site:
    return peer.site


@pytest.fixture
def endpoint(peer: HttpPeer) -> Endpoint:
    return Endpoint("shop", "http", "127.0.0.1", peer.port)


def fill(site: Site, count: int, **more: Any) -> None:
    site.rows = [
        {"id": row.id, "name": row.name, "changed": row.changed.isoformat(), **more}
        for row in old(count)
    ]


def stream(path: str = "/plain", **more: Any) -> RestStream:
    given = {
        "request": path, "primary_key": "id", "columns": COLUMNS, "patience": "5s",
        "request_timeout": "2s", "pages": PAGES.get(path, {"by": "none"}), "rows": ROWS.get(path),
    }  # fmt: skip
    return RestStream.model_validate({**given, **more})


def ids(endpoint: Endpoint, made: RestStream) -> list[int]:
    return Reading(endpoint, made).ids()


def fails(endpoint: Endpoint, made: RestStream, error: type[TidegateError], match: str) -> str:
    with pytest.raises(error, match=match) as caught:
        Reading(endpoint, made).rows()
    assert type(caught.value) is error
    text = str(caught.value)
    assert text.startswith((NAME, "connection 'shop'"))
    return text


# Pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_every_kind_of_page_leads_to_the_last_row(
    path: str, count: int, endpoint: Endpoint, site: Site
) -> None:
    fill(site, count)
    assert ids(endpoint, stream(path)) == list(range(1, count + 1))


def test_a_cursor_may_be_in_a_header(endpoint: Endpoint, site: Site) -> None:
    fill(site, 7)
    made = stream("/cursor", pages={"by": "cursor", "header": "X-Next"})
    assert ids(endpoint, made) == list(range(1, 8))


def test_graphql_reads_its_pages_and_puts_the_cursor_into_variables(
    endpoint: Endpoint, site: Site
) -> None:
    fill(site, 7)
    body = {"query": "query($after: String) {…}", "variables": {"kind": "all"}}
    made = stream(
        "/graphql", request={"path": "/graphql", "method": "POST", "body": body},
        rows="data.orders.nodes", cursor="changed", since="variables.since", lookback="5m",
        pages={"by": "cursor", "param": "variables.after", "at": "data.orders.pageInfo.endCursor",
               "more": "data.orders.pageInfo.hasNextPage"},
    )  # fmt: skip
    reading = Reading(endpoint, made)
    assert reading.ids() == list(range(1, 8))
    assert site.lists()[-1].body["variables"].keys() == {"kind", "after"}
    assert reading.ids() == []
    assert "since" in site.lists()[-1].body["variables"]


def test_errors_of_graphql_are_errors(endpoint: Endpoint) -> None:
    request = {"path": "/graphql", "method": "POST", "body": {"query": "x"}}
    made = stream("/graphql", request=request, rows="data.orders.nodes")
    peer_says = {"errors": [{"message": "no field 'x'"}], "data": {"orders": {"nodes": []}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http.Handler, "_graphql", lambda self, _: self.say(peer_says))
        assert "no field 'x'" in fails(endpoint, made, RefusedError, "tells an error")


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a/?p=2>; rel="next"', "https://a/?p=2"),
        ('</a>; rel=prev, </b>; rel=next; title="x"', "/b"),
        ('</a,b;c>; title="rel=next", </d>; rel="last next"', "/d"),
        ('</a>; rel="nextish"', None),
        ("", None),
    ],
)
def test_link_headers_are_read_as_rfc_8288_says(header: str, target: str | None) -> None:
    assert next_link(header) == target


# Lists that shift --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/pages", "/offset"])
def test_a_row_that_leaves_an_earlier_page_hides_no_other(
    path: str, endpoint: Endpoint, site: Site
) -> None:
    fill(site, 10)

    def shift(page: int) -> None:
        if page == 1:
            del site.rows[0]

    site.after = shift
    assert ids(endpoint, stream(path)) == list(range(1, 11))
    site.pages = 0
    site.after = shift
    once = stream(path, pages={**PAGES[path], "passes": 1})
    assert 5 not in ids(endpoint, once), "the fault that two readings find"


@pytest.mark.parametrize("trial", range(TRIALS))
def test_rows_that_come_and_go_while_a_list_is_read_hide_no_other(
    trial: int, endpoint: Endpoint, site: Site
) -> None:
    dice = random.Random(trial)
    fill(site, 30)
    always = set(range(10, 31))
    moves = dice.randrange(1, 6)

    def shift(page: int) -> None:
        if page > moves:
            return
        if dice.random() < 0.5:
            site.rows.insert(0, {**site.rows[0], "id": 100 + page})
        else:
            site.rows.pop(0)

    site.after = shift
    assert always <= set(ids(endpoint, stream("/pages")))


def test_a_row_that_is_seen_twice_is_given_once(endpoint: Endpoint, site: Site) -> None:
    fill(site, 10)

    def shift(page: int) -> None:
        if page in {1, 2}:
            site.rows.insert(0, {**site.rows[0], "id": 100 + page})

    site.after = shift
    found = [row["id"] for row in Reading(endpoint, stream("/pages")).rows()]
    assert len(found) == len(set(found))
    assert set(range(1, 11)) <= set(found)


def test_a_row_that_changes_between_two_readings_is_given_again(
    endpoint: Endpoint, site: Site
) -> None:
    fill(site, 4)

    def shift(page: int) -> None:
        if page == 2:
            site.rows[0] = {**site.rows[0], "name": "newer"}

    site.after = shift
    found = [row for row in Reading(endpoint, stream("/pages")).rows() if row["id"] == 1]
    assert [row["name"] for row in found] == ["row 1", "newer"]
    assert found[0]["_token"] < found[1]["_token"]


def test_a_list_that_never_rests_is_an_error_not_a_guess(endpoint: Endpoint, site: Site) -> None:
    fill(site, 10)
    site.after = lambda page: site.rows.insert(0, {**site.rows[0], "id": 1000 + page})
    fails(endpoint, stream("/pages"), UnavailableError, "no two in a row")


# Lists without an end ----------------------------------------------------------------------------


def test_a_next_page_that_was_read_before_ends_the_run(endpoint: Endpoint, site: Site) -> None:
    fill(site, 9)
    again = {"data": [{"id": 1}], "meta": {"next": "same"}}
    site.fail(http.body(again), times=5)
    fails(endpoint, stream("/cursor"), ConfigError, "leads back")
    assert len(site.lists()) == 2


def test_a_server_that_does_not_know_the_page_parameter_ends_the_run(
    endpoint: Endpoint, site: Site
) -> None:
    fill(site, 2)
    made = stream("/plain", pages={"by": "page"})
    fails(endpoint, made, ConfigError, "once more.*Does the server know")


def test_a_list_with_endless_new_tokens_ends_at_max_pages(endpoint: Endpoint, site: Site) -> None:
    for number in range(20):
        site.fail(http.body({"data": [], "meta": {"next": f"token {number}"}}))
    fails(endpoint, stream("/cursor", max_pages=10), ConfigError, "more than 10 pages")
    assert len(site.lists()) == 10


@pytest.mark.parametrize("page", [1, 2])
@pytest.mark.parametrize("path", ["/pages", "/link"])
def test_a_304_that_nobody_asked_for_is_no_end_of_a_list(
    path: str, page: int, endpoint: Endpoint, site: Site
) -> None:
    fill(site, 10)
    site.after = lambda given: site.fail(http.status(304)) if given == page - 1 else None
    site.after(0)
    fails(endpoint, stream(path), UnavailableError, "answers 304")


def test_the_first_page_of_more_is_not_taken_for_the_whole_list(
    endpoint: Endpoint, site: Site
) -> None:
    fill(site, 10)
    one: dict[str, Any] = {"pages": {"by": "none"}}
    fails(endpoint, stream("/link", **one), ConfigError, "more than its first answer.*by: link")
    site.fail(http.status(206, [{"id": 1}], Content_Range="rows 0-0/10"))
    fails(endpoint, stream(), ConfigError, "HTTP 206")
    assert ids(endpoint, stream("/link", **one, complete=False)) == [1, 2, 3]
    site.rows = site.rows[:3]
    assert ids(endpoint, stream("/link", **one)) == [1, 2, 3]


def test_a_page_behind_the_last_may_be_missing(endpoint: Endpoint, site: Site) -> None:
    fill(site, 3)
    made = stream("/pages", pages={**PAGES["/pages"], "passes": 1})
    with pytest.MonkeyPatch.context() as patch:
        given = http.Handler._pages

        def pages(self: http.Handler, params: dict[str, str]) -> None:
            if params["page"] == "1":
                given(self, params)
            else:
                self.say({"detail": "Invalid page."}, 404)

        patch.setattr(http.Handler, "_pages", pages)
        assert ids(endpoint, made) == [1, 2, 3]


# What goes wrong ---------------------------------------------------------------------------------


def busy_until_a_date(handler: http.Handler) -> None:
    then = formatdate(time.time() + 1, usegmt=True)
    http.status(503, Retry_After=then)(handler)


PASSING: dict[str, Fault] = {
    "500": http.status(500),
    "503": http.status(503),
    "502 as HTML": http.status(502, b"<h1>Bad gateway</h1>"),
    "429": http.status(429, Retry_After="1"),
    "503 until a date": busy_until_a_date,
    "403 for a while": http.status(403, Retry_After="0"),
    "reset": http.reset,
    "fewer octets than promised": http.cut,
    "truncated JSON": http.truncated,
    "no JSON": http.body(b"[1, NaN]"),
    "octets that are no UTF-8": http.body(b'["\xff"]'),
}


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("path", ["/link", "/pages"])
def test_what_passes_is_waited_for_and_nothing_is_lost(
    fault: str, path: str, endpoint: Endpoint, site: Site
) -> None:
    fill(site, 10)
    site.faults = [("/none", http.status(500))]
    reading = Reading(endpoint, stream(path))

    def later(page: int) -> None:
        if page == 2:
            site.fail(PASSING[fault])

    site.after = later
    assert reading.ids() == list(range(1, 11))
    assert len(site.faults) == 1, "the fault was met"


@pytest.mark.parametrize("fault", PASSING)
def test_what_does_not_pass_ends_the_run_in_time_and_moves_no_watermark(
    fault: str, endpoint: Endpoint, site: Site
) -> None:
    fill(site, 10)
    reading = Reading(endpoint, stream("/link", **CURSOR, patience="1s", execution_timeout="30s"))
    reading.rows()
    kept = reading.watermark
    site.fail(PASSING[fault], times=500)
    made = replace(reading, stream=stream("/link", **CURSOR, patience="1s", execution_timeout="2s"))
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"^shop\.orders: 127\.0\.0\.1"):
        made.rows()
    assert time.monotonic() - began < 5
    assert made.watermark == kept


def test_silence_ends_after_the_timeout(endpoint: Endpoint, site: Site) -> None:
    site.fail(http.silent, times=9)
    made = stream(patience="0s", request_timeout="0.3s")
    began = time.monotonic()
    fails(endpoint, made, UnavailableError, "does not answer")
    assert time.monotonic() - began < 3


def test_a_slow_drip_ends_although_it_is_never_silent(endpoint: Endpoint, site: Site) -> None:
    site.fail(http.drip, times=9)
    made = stream(patience="0s", request_timeout="0.2s")
    began = time.monotonic()
    fails(endpoint, made, UnavailableError, "too long as a whole")
    assert time.monotonic() - began < 6


def test_an_answer_without_end_is_not_kept_in_memory(endpoint: Endpoint, site: Site) -> None:
    site.fail(http.huge)
    fails(endpoint, stream(max_megabytes=3), ConfigError, "larger than 3 MB.*max_megabytes")


def test_retry_after_is_honoured(endpoint: Endpoint, site: Site) -> None:
    fill(site, 1)
    site.fail(http.status(429, Retry_After="2"))
    began = time.monotonic()
    assert ids(endpoint, stream(patience="0s")) == [1]
    assert time.monotonic() - began >= 2


@pytest.mark.parametrize("seconds", ["901", "999999999999999"])
def test_nobody_waits_longer_than_fifteen_minutes(
    seconds: str, endpoint: Endpoint, site: Site
) -> None:
    site.fail(http.status(429, Retry_After=seconds))
    fails(endpoint, stream(), UnavailableError, r"wants to be left alone for .* s: HTTP 429")


def test_nobody_waits_longer_than_the_task_may_run(endpoint: Endpoint, site: Site) -> None:
    site.fail(http.status(503, Retry_After="60"))
    fails(endpoint, stream(execution_timeout="30s"), UnavailableError, "left alone for 60 s")


def test_pages_are_asked_for_at_the_rate_that_is_allowed(endpoint: Endpoint, site: Site) -> None:
    fill(site, 12)
    began = time.monotonic()
    assert len(ids(endpoint, stream("/link", rate="10/s"))) == 12
    assert time.monotonic() - began >= (len(site.asked) - 1) * 0.1


@pytest.mark.parametrize(
    ("fault", "error", "match"),
    [
        (http.status(401), RefusedError, "HTTP 401.*login"),
        (http.status(403), RefusedError, "HTTP 403.*status 403"),
        (http.status(404), ConfigError, "HTTP 404.*status 404"),
        (http.status(400, {"why": "no such field"}), ConfigError, "no such field"),
        (http.status(422), ConfigError, "HTTP 422"),
        (http.body({"error": "out of order"}), ConfigError, "is not a list.*error_at"),
        (http.body({"data": None}), ConfigError, "is not a list"),
        (http.body({"items": [], "error": {"code": 7}}), RefusedError, "code.*7"),
        (
            http.body(b"<html>log in</html>", "text/html"),
            ConfigError,
            "text/html, not JSON.*log in",
        ),
        (http.body(b"<a/>", "application/xml"), ConfigError, "application/xml"),
        (http.status(302, Location="http://169.254.169.254/meta"), ConfigError, "redirects"),
        (http.status(302, Location="//elsewhere.example/"), ConfigError, "redirects"),
        (http.status(302, Location="https://127.0.0.1/"), ConfigError, "redirects"),
        (http.status(302), ConfigError, "redirects"),
    ],
)
def test_what_a_person_must_mend_is_told_at_once(
    fault: Fault, error: type[TidegateError], match: str, endpoint: Endpoint, site: Site
) -> None:
    site.fail(fault)
    rows = "items" if error is RefusedError and "code" in match else None
    fails(endpoint, stream(rows=rows, error_at="error" if rows else None), error, match)
    assert len(site.lists()) == 1


def test_redirects_within_the_place_are_followed_and_rings_are_not(
    endpoint: Endpoint, site: Site
) -> None:
    fill(site, 2)
    site.fail(http.status(307, Location="/nested"))
    assert ids(endpoint, stream(rows="data.items")) == [1, 2]
    site.fail(http.status(308, Location="/plain"), times=20)
    fails(endpoint, stream(), ConfigError, "more than 5 redirects")


def test_a_next_page_elsewhere_is_not_asked_for(endpoint: Endpoint, site: Site) -> None:
    for link in (
        "http://169.254.169.254/x", "//evil.example/x", "file:///etc/passwd",
        "http://127.0.0.1:1/x", "http://127.0.0.1@evil.example/", "http://[::1",
    ):  # fmt: skip
        site.fail(http.body({"rows": [], "links": {"next": link}}))
        fails(endpoint, stream("/next"), ConfigError, "the next page is elsewhere")


def test_rows_that_are_no_objects_are_held(endpoint: Endpoint, site: Site) -> None:
    site.fail(http.body([1, None, "x", {"id": 4, "name": ["no", "text"]}, {"id": 5}]))
    found = Reading(endpoint, stream()).rows()
    assert [row["_held"] is not None for row in found] == [True, True, True, True, False]


# How far a list is complete ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "kind"),
    [("iso", "timestamp"), ("seconds", "timestamp"), ("milliseconds", "timestamp"),
     ("seconds", "int64"), ("milliseconds", "int64")],
)  # fmt: skip
def test_times_are_written_as_the_server_wants_them(
    times: str, kind: str, endpoint: Endpoint, site: Site
) -> None:
    fill(site, 5)
    if kind == "int64":
        factor = 1000 if times == "milliseconds" else 1
        for row in site.rows:
            row["changed"] = int(datetime.fromisoformat(row["changed"]).timestamp()) * factor
    made = stream(**CURSOR, times=times, columns={**COLUMNS, "changed": kind})
    reading = Reading(endpoint, made)
    assert reading.ids() == [1, 2, 3, 4, 5]
    assert reading.ids() == []
    sent = site.lists()[-1].params["since"]
    bound = datetime.now(UTC) - timedelta(minutes=5, seconds=1)
    assert abs((http.read(sent) or 0) - bound.timestamp()) < 5
    since = datetime.fromisoformat(site.rows[2]["changed"]) if kind != "int64" else (
        datetime.fromtimestamp((http.read(site.rows[2]["changed"]) or 0), UTC)
    )  # fmt: skip
    window = Window.between(since, since + timedelta(seconds=1))
    assert 3 in [row["id"] for row in reading.rows(window)]
    assert 5 not in [row["id"] for row in reading.rows(window)]


@pytest.mark.parametrize("offset", [-12, 0, 14])
def test_days_may_be_those_of_any_time_zone(offset: int) -> None:
    clock = Clock(stream(**CURSOR, times="day"), NAME)
    ask, away = Ask("GET", "http://a"), timedelta(hours=offset)
    for hour in range(24):
        since = datetime(2026, 3, 1, hour, 30, tzinfo=UTC)
        window = Window.between(since, since + timedelta(hours=1))
        asked = clock.between(ask, window).params
        days = [
            datetime.fromisoformat(f"{asked[name]}T00:00Z") - away for name in ("since", "until")
        ]
        assert days[0] < since < since + timedelta(hours=1) <= days[1]
        assert clock.since(ask, clock.watermark(since)).params["since"] == asked["since"]


def test_the_servers_clock_decides_not_ours(endpoint: Endpoint, site: Site) -> None:
    site.clock = -7200.0
    reading = Reading(endpoint, stream(**CURSOR))
    reading.rows()
    site.rows = [{"id": 1, "name": "", "changed": _ago(hours=2)}]
    assert reading.ids() == [1]


def test_a_server_without_a_clock_is_read_by_ours_and_the_doctor_says_so(
    endpoint: Endpoint, site: Site
) -> None:
    site.clock = None
    fill(site, 2)
    reading = Reading(endpoint, stream(**CURSOR))
    assert reading.ids() == [1, 2]
    assert reading.ids() == []
    with open_source(endpoint, stream(**CURSOR), NAME) as source:
        assert [finding.code for finding in source.check()] == ["no-clock"]


def test_rows_stamped_by_a_clock_that_stepped_back_are_read(endpoint: Endpoint, site: Site) -> None:
    reading = Reading(endpoint, stream(**CURSOR))
    reading.rows()
    before = reading.watermark
    site.clock = -3600.0
    for id in (1, 2):
        site.rows.append({"id": id, "name": "", "changed": _ago(hours=1)})
        assert id in reading.ids()
        assert reading.watermark == before, "it never goes back"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("status", [200, 204, 304, 302, 401, 405, 429, 500, 501])
def test_whatever_a_server_says_to_head_its_clock_is_used(
    status: int, zipped: bool, endpoint: Endpoint, site: Site
) -> None:
    fill(site, 2)
    site.zipped, site.clock = zipped, -7200.0
    site.head = http.status(status, Location="http://elsewhere.example/")
    reading = Reading(endpoint, stream(**CURSOR, patience="0s"))
    assert reading.ids() == [1, 2]
    bound = datetime.now(UTC) - timedelta(hours=2, minutes=5)
    assert reading.watermark is not None
    assert abs(datetime.fromisoformat(str(reading.watermark.cursor)) - bound) < timedelta(minutes=1)


def test_a_head_that_asks_for_rest_is_asked_again(endpoint: Endpoint, site: Site) -> None:
    site.head = http.status(429, Retry_After="901")
    fails(endpoint, stream(**CURSOR), UnavailableError, "left alone for 901 s")
    assert site.lists() == []


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_without_head_and_clock_is_read_by_ours(
    status: int, endpoint: Endpoint, site: Site
) -> None:
    fill(site, 2)
    site.clock, site.head = None, http.status(status)
    assert ids(endpoint, stream(**CURSOR, patience="0s")) == [1, 2]


def test_without_a_cursor_the_whole_list_is_read_and_unchanged_rows_are_no_change(
    endpoint: Endpoint, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    world = _world(endpoint, stream(columns={**COLUMNS, "amount": "decimal(38,9)"}), tmp_path)
    fill(site, 5, amount=Decimal("1.10"))
    assert world.run().inserted == 5
    site.rows[2]["name"] = "other"
    site.rows[3]["amount"] = Decimal("1.1000")
    report = world.run()
    assert (report.pulled, report.updated, report.unchanged) == (5, 1, 4)


def test_a_list_that_did_not_change_is_not_sent_again(endpoint: Endpoint, site: Site) -> None:
    fill(site, 3)
    site.etag = 'W/"1"'
    reading = Reading(endpoint, stream())
    assert reading.ids() == [1, 2, 3]
    assert reading.ids() == []
    assert site.lists()[-1].headers["if-none-match"] == 'W/"1"'
    site.etag = 'W/"2"'
    fill(site, 4)
    assert reading.ids() == [1, 2, 3, 4]
    reading.watermark = None
    assert reading.ids() == [1, 2, 3, 4], "a full run asks without a condition"
    reading.stream = stream(columns={"id": "int64"})
    assert reading.ids() == [1, 2, 3, 4], "so does a run with other columns"


@pytest.mark.parametrize(
    "more",
    [
        {"columns": {**COLUMNS, "name": {"type": "string", "path": "nom"}}},
        {"rows": "0.items"},
        {"time_zone": "Asia/Tokyo"},
    ],
)
def test_a_stream_that_reads_otherwise_asks_without_a_condition(
    more: dict[str, Any], endpoint: Endpoint, site: Site
) -> None:
    fill(site, 1, items=[{"id": 7}])
    site.etag = "1"
    reading = Reading(endpoint, stream())
    assert [len(reading.rows()), len(reading.rows())] == [1, 0]
    reading.stream = stream(**more)
    assert len(reading.rows()) == 1


def test_last_modified_is_a_condition_once_it_is_a_minute_old(
    endpoint: Endpoint, site: Site
) -> None:
    reading = Reading(endpoint, stream())
    site.changed = formatdate(time.time() - 30, usegmt=True)
    fill(site, 1)
    assert reading.ids() == [1]
    fill(site, 2)
    assert reading.ids() == [1, 2], "changed twice within one second"
    site.changed = formatdate(time.time() - 90, usegmt=True)
    assert reading.ids() == [1, 2]
    assert reading.ids() == []
    assert site.lists()[-1].headers["if-modified-since"] == site.changed
    site.clock = None
    site.changed = formatdate(time.time() - 80, usegmt=True)
    assert [reading.ids(), reading.ids()] == [[1, 2]] * 2, "without a Date nobody knows its age"


def test_a_304_that_is_compressed_has_no_body(endpoint: Endpoint, site: Site) -> None:
    fill(site, 2)
    site.etag, site.zipped = "1", True
    reading = Reading(endpoint, stream(patience="0s"))
    assert [reading.ids(), reading.ids()] == [[1, 2], []]


def test_a_watermark_of_another_kind_asks_for_a_full_run(endpoint: Endpoint) -> None:
    reading = Reading(endpoint, stream(**CURSOR), watermark=Watermark(7, "id"))
    with pytest.raises(ConfigError, match="--full"):
        reading.rows()


def test_a_window_of_a_list_that_has_none_is_refused(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    window = Window.between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    without: list[dict[str, Any]] = [{}, {**CURSOR, "until": None}]
    for more in without:
        with pytest.raises(ConfigError, match="window"):
            _world(endpoint, stream(**more), tmp_path).run(Mode.WINDOW, window)


def test_a_list_that_forgets_is_never_compared(endpoint: Endpoint, site: Site) -> None:
    fill(site, 2)
    made = stream(complete=False)
    assert not made.verifies
    with open_source(endpoint, made, NAME) as source, pytest.raises(ConfigError, match="complete"):
        source.count()
    with open_source(endpoint, stream(), NAME) as source:
        assert source.count() == 2


# Signing in --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"user": "ann", "password": SECRET}, ("authorization", "Basic YW5uOnRoZSBzZWNyZXQh")),
        ({"password": SECRET}, ("authorization", f"Bearer {SECRET}")),
        ({"options": {"token": SECRET}}, ("authorization", f"Bearer {SECRET}")),
        ({"password": SECRET, "options": {"api_key_header": "X-Key"}}, ("x-key", SECRET)),
        ({"options": {"headers": {"X-Sign": SECRET}}}, ("x-sign", SECRET)),
        ({"options": {"headers": '{"X-Sign": "the secret!"}'}}, ("x-sign", SECRET)),
        ({"password": SECRET, "options": {"api_key_param": "key"}}, None),
    ],
)
def test_each_way_to_sign_in_is_known_and_its_secret_is_in_no_text(
    fields: dict[str, Any], wanted: tuple[str, str] | None, endpoint: Endpoint, site: Site,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    fill(site, 7)

    def knows(asked: Asked) -> bool:
        if wanted is None:
            return asked.params.get("key") == SECRET
        return asked.headers.get(wanted[0]) == wanted[1]

    site.sign_in = knows
    signed = replace(endpoint, **fields)
    assert ids(signed, stream("/link", **CURSOR)) == list(range(1, 8))
    for status in (400, 401, 500):
        site.fail(_echo(status), times=2)
        with pytest.raises(TidegateError) as caught:
            Reading(signed, stream(patience="0s")).rows()
        _holds_no_secret(str(caught.value))
        site.faults.clear()
    site.fail(_echo(200))
    with pytest.raises(TidegateError) as caught:
        Reading(signed, stream(rows="list")).rows()
    _holds_no_secret(str(caught.value))
    _holds_no_secret(caplog.text)
    _holds_no_secret(repr(signed))


def _echo(status: int) -> Fault:
    """Says back all that it was told, secrets at the cut of a message, too."""

    def say(handler: http.Handler) -> None:
        told = {**handler.asked.headers, **handler.asked.params}
        handler.say({f"{'x' * place}": told for place in range(0, 200, 7)}, status)

    return say


def _holds_no_secret(text: str) -> None:
    basic = base64.b64encode(f"ann:{SECRET}".encode()).decode()
    for secret in (SECRET, SECRET[:6], basic[:12], "the%20secret", "the+secret"):
        assert secret not in text


def test_oauth_tokens_are_kept_and_renewed(endpoint: Endpoint, site: Site) -> None:
    fill(site, 30)
    signed = replace(
        endpoint, user="client", password="the secret!",
        options={"token_url": f"http://127.0.0.1:{endpoint.port}/token", "scope": "read"},
    )  # fmt: skip
    site.sign_in = lambda asked: (
        bool(site.issued) and (asked.headers.get("authorization") == f"Bearer {site.issued[-1]}")
    )
    assert ids(signed, stream("/link")) == list(range(1, 31))
    assert site.issued == ["tok-0-of-read"]

    def expire(page: int) -> None:
        if page % 4 == 0:
            site.issued.append("expired")

    site.after = expire
    assert ids(signed, stream("/link")) == list(range(1, 31))
    assert len([one for one in site.issued if one != "expired"]) >= 3


def test_a_token_that_is_never_taken_is_refused_without_a_ring(
    endpoint: Endpoint, site: Site
) -> None:
    signed = replace(
        endpoint, user="client", password="the secret!",
        options={"token_url": f"http://127.0.0.1:{endpoint.port}/token"},
    )  # fmt: skip
    site.sign_in = lambda asked: False
    text = fails(signed, stream(), RefusedError, "HTTP 401")
    assert len(site.issued) == 2
    assert "tok-" not in text
    fails(replace(signed, password="wrong"), stream(), RefusedError, "no access_token")


def test_a_token_that_lives_briefly_is_renewed_before_it_ends(
    endpoint: Endpoint, site: Site
) -> None:
    fill(site, 12)
    site.life = 2
    signed = replace(
        endpoint, user="client", password="the secret!",
        options={"token_url": f"http://127.0.0.1:{endpoint.port}/token"},
    )  # fmt: skip
    assert len(ids(signed, stream("/link", rate="2/s"))) == 12
    assert len(site.issued) >= 2


# Where a connection leads ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("http://api.example.com/https", "https://api.example.com/x"),
        ("https://api.example.com", "https://api.example.com/x"),
        ("https://api.example.com:8443/v1", "https://api.example.com:8443/v1/x"),
        ("http://https%3A%2F%2Fapi.example.com%2Fv1%2F", "https://api.example.com/v1/x"),
        ("http://localhost:8080", "http://localhost:8080/x"),
        ("http://api.example.com?insecure=true", "http://api.example.com/x"),
        ('{"conn_type": "http", "host": "api.example.com", "schema": "https", "port": 443}',
         "https://api.example.com/x"),
        ('{"conn_type": "https", "host": "[::1]", "extra": {"path": "/a/b/"}}',
         "https://[::1]/a/b/x"),
    ],
)  # fmt: skip
def test_connections_are_read_as_airflow_writes_them(uri: str, url: str) -> None:
    assert address(parse("shop", uri), "http", "https").url("/x") == url


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"host": None}, "host"),
        ({"host": "https://ann:pw@a.example"}, "host"),
        ({"host": "ftp://a.example"}, "protocol"),
        ({"host": "a.example:99999"}, "host"),
        ({"host": "a.example"}, "in the clear"),
        ({"options": {"token_urll": "x"}}, "Did you mean 'token_url'"),
        ({"options": {"headers": {"X": "a\r\nB: c"}}}, "headers"),
        ({"options": {"headers": "no"}}, "headers"),
        ({"options": {"api_key_header": "X-Key"}}, "no password"),
        ({"database": "https", "options": {"ssl_ca": "/no/such.pem"}}, "ssl_ca"),
    ],
)
def test_a_wrong_connection_is_told_where_it_is_wrong(
    fields: dict[str, Any], match: str, endpoint: Endpoint
) -> None:
    fails(replace(endpoint, **fields), stream(), ConfigError, match)


def test_tls_is_verified_unless_the_connection_does_not_want_it(tmp_path: Path) -> None:
    certificate = tls.certificate(tmp_path)
    peer = HttpPeer(certificate)
    fill(peer.site, 1)
    try:
        trusting = Endpoint("shop", "https", "127.0.0.1", peer.port, password=SECRET)
        fails(trusting, stream(), RefusedError, "no trusted TLS connection.*ssl_ca")
        assert peer.site.asked == [], "nothing was sent"
        for options in ({"ssl_ca": str(certificate)}, {"insecure": "true"}):
            assert ids(replace(trusting, options=options), stream()) == [1]
        named = replace(trusting, host="localhost", options={"ssl_ca": str(certificate)})
        fails(named, stream(), RefusedError, "no trusted TLS connection")
    finally:
        peer.close()


@pytest.mark.parametrize(
    "ip",
    ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "::", "fd00:ec2::254",
     "100.100.100.200"],
)  # fmt: skip
def test_a_name_that_leads_to_metadata_is_refused_unless_the_connection_names_it(ip: str) -> None:
    named = Endpoint("shop", "https", "api.example.com")
    with pytest.raises(RefusedError, match="leads to"):
        address(named, "http", "https").admit("shop.orders", ip)
    if "ffff" not in ip:
        literal = Endpoint("shop", "https", f"[{ip}]" if ":" in ip else ip)
        address(literal, "http", "https").admit("shop.orders", ip)
    address(named, "http", "https").admit("shop.orders", "10.0.0.7")


def test_the_address_is_looked_at_when_the_connection_stands(
    peer: HttpPeer, site: Site, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(site, 1)
    monkeypatch.setattr("tidegate.sources.web.address._forbidden", lambda ip: ip.is_loopback)
    assert ids(endpoint, stream()) == [1]
    fails(replace(endpoint, host="localhost"), stream(), RefusedError, "leads to 127.0.0.1")
    assert len(site.asked) == 1, "nothing was sent"


# What a file may say -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"request": "https://evil.example/x"}, "below the connection"),
        ({"request": "//evil.example/x"}, "below the connection"),
        ({"request": "/a/../b"}, "below the connection"),
        ({"request": "/a?b=c"}, "params"),
        ({"request": {"path": "/a", "body": {}}}, "POST"),
        ({"request": {"path": "/a", "headers": {"Authorization": "x"}}}, "Secrets"),
        ({"request": {"path": "/a", "headers": {"X": "a\nb"}}}, "pattern"),
        ({"cursor": "changed"}, "belong together"),
        ({"since": "since"}, "belong together"),
        ({"until": "until"}, "until needs"),
        ({"cursor": "when", "since": "s"}, "not among"),
        ({"cursor": "name", "since": "s"}, "type string"),
        ({"cursor": "id", "since": "s"}, "times: seconds"),
        ({"pages": {"by": "cursor"}}, "either at:"),
        ({"pages": {"by": "pages"}}, "by"),
        ({"rate": "5"}, "5/s"),
        ({"backfill": {"by": "name"}, **CURSOR}, "backfill.by"),
        ({"complete": False, "deletes": {"full": True}}, "complete"),
        ({"snapshot": True, **CURSOR}, "snapshot"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(more: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        stream(**more)


def test_the_doctor_names_columns_that_are_nowhere(endpoint: Endpoint, site: Site) -> None:
    fill(site, 3)
    with open_source(endpoint, stream(columns={**COLUMNS, "nmae": "string"}), NAME) as source:
        found = source.check()
    assert [finding.code for finding in found] == ["missing-column"]
    assert "'nmae'" in found[0].what


def test_answers_may_be_compressed(endpoint: Endpoint, site: Site) -> None:
    fill(site, 50)
    site.zipped = True
    assert len(ids(endpoint, stream())) == 50


# All of it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/link", "/pages"])
def test_with_faults_at_random_the_store_ends_as_the_source(
    path: str, endpoint: Endpoint, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    columns = {**COLUMNS, "amount": "decimal(38,9)"}
    made = stream(path, **CURSOR, columns=columns, patience="3s")
    world, dice = _world(endpoint, made, tmp_path), random.Random(path)
    faults = [fault for name, fault in PASSING.items() if "40" not in name and "date" not in name
              and name != "429"]  # fmt: skip
    wanted: dict[int, str] = {}
    for round in range(2 * TRIALS):
        for id in dice.sample(range(1, 30), 6):
            wanted[id] = f"round {round}"
            site.rows = [row for row in site.rows if row["id"] != id]
            now = Row(id).now("").changed.isoformat()
            site.rows.append({"id": id, "name": wanted[id], "amount": Decimal(id), "changed": now})
        for _ in range(dice.randrange(4)):
            site.fail(dice.choice([*faults, http.status(404), http.body({"error": "no"})]))
        try:
            world.run()
        except (ConfigError, UnavailableError):
            site.faults.clear()
    world.run()
    assert {id: row[0] for id, row in world.stored().items()} == wanted


def _world(endpoint: Endpoint, made: RestStream, folder: Path) -> World:
    class Here(RestList):
        def __init__(self) -> None:
            self.folder = folder

        @property
        def endpoint(self) -> Endpoint:
            return endpoint

        def stream(self, **more: Any) -> RestStream:
            return made

    return World(Here(), folder)


def _ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


def test_the_texts_of_the_peer_are_json() -> None:
    assert json.loads(http.spell({"a": [1, Decimal("1.50"), "x\u2028"]})) == {
        "a": [1, 1.5, "x\u2028"]
    }

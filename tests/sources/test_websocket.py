"""WebSocket messages: what was heard is kept before it counts, and nothing is heard twice."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from faults.proxy import Proxy, Toxin
from services.websocket import Channel, WebSocketPeer
from sources.contract.world import NAME, Reading
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources import Apart, open_source
from tidegate.sources.rows import records
from tidegate.sources.websocket.options import WebSocketStream

TRIALS = int(os.environ.get("TIDEGATE_TEST_WEBSOCKET_TRIALS", "3"))
SECRET = "the secret!"
RESUME = {"field": "seq", "send": {"op": "resume", "after": "{value}"}, "instead": True}


@pytest.fixture
def peer() -> Iterator[WebSocketPeer]:
    made = WebSocketPeer()
    yield made
    made.close()


@pytest.fixture
def channel(peer: WebSocketPeer) -> Channel:
    return peer.channel


@pytest.fixture
def endpoint(peer: WebSocketPeer) -> Endpoint:
    return Endpoint("shop", "ws", "127.0.0.1", peer.port)


def stream(**more: Any) -> WebSocketStream:
    given = {
        "subscribe": {"op": "subscribe"}, "primary_key": "seq", "listen": "10s",
        "columns": {"seq": "int64", "price": "decimal(12,4)"}, "id": "seq", "resume": RESUME,
    }  # fmt: skip
    return WebSocketStream.model_validate({**given, **more})


def numbers(reading: Reading) -> list[int]:
    return [row["seq"] for row in reading.rows()]


def fill(channel: Channel, count: int) -> None:
    for number in range(count):
        channel.say(price=number)


# Cut off -----------------------------------------------------------------------------------------


def test_a_cut_line_is_mended_within_the_run_and_nothing_is_lost_or_heard_twice(
    endpoint: Endpoint, channel: Channel
) -> None:
    fill(channel, 50)
    channel.cut = [7, 0, 20]
    assert numbers(Reading(endpoint, stream())) == list(range(1, 51))
    assert channel.lines == 4
    assert [said["op"] for said in channel.heard[-3:]] == ["resume"] * 3


@pytest.mark.parametrize("trial", range(TRIALS))
def test_lines_cut_at_random_lose_nothing(trial: int, endpoint: Endpoint, channel: Channel) -> None:
    dice = random.Random(trial)
    reading, found = Reading(endpoint, stream()), set()
    for _ in range(3):
        fill(channel, dice.randrange(1, 40))
        channel.cut = [dice.randrange(12) for _ in range(dice.randrange(4))]
        found |= set(numbers(reading))
    channel.cut = []
    found |= set(numbers(reading))
    assert found == set(range(1, len(channel.log) + 1))


def test_a_run_goes_on_where_the_last_one_was(endpoint: Endpoint, channel: Channel) -> None:
    reading = Reading(endpoint, stream())
    fill(channel, 5)
    assert numbers(reading) == [1, 2, 3, 4, 5]
    assert reading.memory == {"position": 5}
    fill(channel, 2)
    assert numbers(reading) == [6, 7]
    assert channel.heard[-1] == {"op": "resume", "after": 5}


def test_a_run_that_was_not_stored_is_told_again_and_counts_once(
    endpoint: Endpoint, channel: Channel
) -> None:
    fill(channel, 5)
    reading = Reading(endpoint, stream())
    reading.rows(keep=False)
    assert numbers(reading) == [1, 2, 3, 4, 5]
    assert len(list(reading.shared.arrivals(NAME))) == 5


def test_what_is_told_twice_counts_once_where_messages_have_an_identity(
    endpoint: Endpoint, channel: Channel
) -> None:
    channel.log = ['{"seq": 1, "price": 1}', '{"seq": 2, "price": 2}', '{"seq": 1, "price": 1}']
    assert numbers(Reading(endpoint, stream())) == [1, 2]
    reading = Reading(endpoint, stream(id=None))
    assert numbers(reading) == [1, 2, 1]


def test_a_server_that_numbers_its_messages_anew_is_heard(
    endpoint: Endpoint, channel: Channel
) -> None:
    columns = {"seq": "int64", "price": "decimal(12,4)", "name": {"type": "string", "path": "$id"}}
    reading = Reading(endpoint, stream(resume=None, columns=columns))
    fill(channel, 3)
    assert [row["name"] for row in reading.rows()] == ["1", "2", "3"]
    channel.log = ['{"seq": 1, "price": 7}', channel.log[1], '{"seq": 3, "price": 8}']
    found = [(row["name"], row["price"]) for row in reading.rows()]
    assert found == [("1", 7), ("3", 8)]


def test_without_resume_only_what_is_said_while_a_run_listens_is_heard_and_the_doctor_says_so(
    peer: WebSocketPeer, endpoint: Endpoint, channel: Channel
) -> None:
    channel.replays, channel.stays = False, True
    fill(channel, 3)
    made = stream(resume=None, messages=2)
    with open_source(endpoint, made, NAME) as source:
        found = source.check()
    assert [(one.level, one.code) for one in found] == [("warning", "no-resume")]
    assert "is lost" in found[0].what

    def talk() -> None:
        peer.wait(lambda: channel.lines == 1)
        for price in (4, 5):
            peer.say(price=price)

    talker = threading.Thread(target=talk)
    talker.start()
    assert numbers(Reading(endpoint, made)) == [4, 5]
    talker.join()


def test_resume_may_follow_the_subscription(endpoint: Endpoint, channel: Channel) -> None:
    fill(channel, 1)
    reading = Reading(endpoint, stream(resume={**RESUME, "instead": False}))
    reading.rows()
    channel.awaits = True
    made = stream(resume={**RESUME, "instead": False}, acknowledge={"op": "ack", "id": "{value}"})
    reading.stream = made
    reading.rows()
    assert [said["op"] for said in channel.heard] == ["subscribe", "subscribe", "resume", "ack"]


# Limits ------------------------------------------------------------------------------------------


def test_a_run_ends_after_its_time(endpoint: Endpoint, channel: Channel) -> None:
    channel.stays = True
    fill(channel, 3)
    began = time.monotonic()
    assert numbers(Reading(endpoint, stream(listen="1s"))) == [1, 2, 3]
    assert 1 <= time.monotonic() - began < 5


def test_a_run_ends_after_its_messages_and_the_next_one_has_the_others(
    endpoint: Endpoint, channel: Channel
) -> None:
    channel.stays = True
    fill(channel, 10)
    reading = Reading(endpoint, stream(messages=6))
    assert numbers(reading) == [1, 2, 3, 4, 5, 6]
    reading.stream = stream(messages=4)
    assert numbers(reading) == [7, 8, 9, 10]


def test_many_messages_are_kept_in_batches(endpoint: Endpoint, channel: Channel) -> None:
    fill(channel, 1200)
    kept = Counting()
    assert len(numbers(Reading(endpoint, stream(), kept))) == 1200
    assert max(kept.sizes) <= 500
    assert len(kept.sizes) < 60


def test_pages_are_small_when_messages_are_large(
    endpoint: Endpoint, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE_OCTETS", 100_000)
    for _ in range(5):
        channel.say(text="x" * 60_000)
    channel.log.append("x" * 200_000)
    sizes = [page.num_rows for page in Reading(endpoint, stream()).pages()]
    assert sizes == [2, 2, 2]


class Counting(Apart):
    """Notes how much arrives at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def arrive(self, stream: str, items: Any) -> int:
        self.sizes.append(len(items))
        return super().arrive(stream, items)


def test_a_message_that_is_too_large_is_told(endpoint: Endpoint, channel: Channel) -> None:
    channel.say(price="1" * 1_100_000)
    with pytest.raises(ConfigError, match=r"larger than 1 MB.*max_megabytes"):
        Reading(endpoint, stream()).rows()
    assert len(Reading(endpoint, stream(max_megabytes=2)).rows()) == 1


# What is heard -----------------------------------------------------------------------------------


def test_messages_that_do_not_count_are_let_go_and_counted(
    endpoint: Endpoint, channel: Channel
) -> None:
    channel.say(type="hello")
    channel.say(type="trade", price=1)
    channel.say(type="quote", price=2)
    channel.say(type="beat", price=3)
    made = stream(only={"type": ["trade", "quote"]})
    with open_source(endpoint, made, NAME) as source:
        seen = source.observe(Apart())
        found = [row["seq"] for page in source.pull(1, None, None) for row in page.to_pylist()]
        assert source.census() == {"let go": 2}
    assert found == [2, 3]
    assert "2 messages heard, 2 let go" in seen.bound


def test_a_message_may_hold_many_rows_or_one_or_none(endpoint: Endpoint, channel: Channel) -> None:
    columns = {"n": "int64", "symbol": {"type": "string", "path": "$message.symbol"}}
    channel.say(symbol="A", data=[{"n": 1}, {"n": 2}])
    channel.say(symbol="B", data={"n": 3})
    channel.say(symbol="C", data=[])
    channel.say(symbol="D")
    made = stream(rows="data", primary_key="n", columns=columns)
    found = Reading(endpoint, made).rows()
    assert [(row["n"], row["symbol"]) for row in found] == [(1, "A"), (2, "A"), (3, "B")]
    assert [row["_token"] for row in found] == [1 << 20, 1 << 20 | 1, 2 << 20]


def test_what_is_no_json_is_held_and_not_lost(endpoint: Endpoint, channel: Channel) -> None:
    channel.log = ["no json", b"\xff\xfe", '{"seq": NaN}', '[1, 2, "', '{"seq": 5}', b'{"seq": 6}']
    found = Reading(endpoint, stream()).rows()
    assert [row["_held"] is not None for row in found] == [True, True, True, True, False, False]
    assert "the message is not JSON" in found[0]["_held"]


def test_what_is_no_json_is_held_though_only_some_messages_count(
    endpoint: Endpoint, channel: Channel
) -> None:
    channel.log = [
        "no json",
        b"\xff\xfe",
        "null",
        '{"type": "beat"}',
        '{"type": "trade", "seq": 5}',
    ]
    found = Reading(endpoint, stream(only={"type": "trade"})).rows()
    assert [row["_held"] is not None for row in found] == [True, True, False]


def test_numbers_are_exact(endpoint: Endpoint, channel: Channel) -> None:
    channel.log = ['{"seq": 1, "price": 12345678.1234}', '{"seq": 2, "price": 0.3000}']
    prices = [str(row["price"]) for row in Reading(endpoint, stream()).rows()]
    assert prices == ["12345678.1234", "0.3000"]


def test_a_message_that_tells_an_error_ends_the_run_and_what_came_before_is_kept(
    endpoint: Endpoint, channel: Channel
) -> None:
    fill(channel, 2)
    channel.say(error={"code": 9, "text": "no such channel"})
    reading = Reading(endpoint, stream(error_at="error"))
    with pytest.raises(RefusedError, match="no such channel"):
        reading.rows()
    assert len(list(reading.shared.arrivals(NAME))) == 2


def test_texts_are_sent_as_they_are_and_lists_one_by_one(
    endpoint: Endpoint, channel: Channel
) -> None:
    channel.awaits = True
    channel.say(price=1)
    made = stream(
        subscribe=['{"op": "subscribe", "x": 1.50}', {"op": "also"}],
        acknowledge='{"op": "ack", "id": {value}}',
    )
    assert numbers(Reading(endpoint, made)) == [1]
    assert channel.heard == [
        {"op": "subscribe", "x": 1.5}, {"op": "also"}, {"op": "ack", "id": 1},
    ]  # fmt: skip


# Who is there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ({"password": SECRET}, ("Authorization", f"Bearer {SECRET}")),
        ({"user": "ann", "password": SECRET}, ("Authorization", "Basic YW5uOnRoZSBzZWNyZXQh")),
        ({"options": {"headers": {"X-Token": SECRET}}}, ("X-Token", SECRET)),
        ({"password": SECRET, "options": {"api_key_param": "key"}}, None),
    ],
)
def test_each_way_to_sign_in_is_known(
    fields: dict[str, Any], header: tuple[str, str] | None, endpoint: Endpoint, channel: Channel
) -> None:
    channel.say(price=1)
    channel.sign_in = lambda request: (
        "key=the+secret%21" in request.path
        if header is None
        else request.headers.get(header[0]) == header[1]
    )
    assert numbers(Reading(replace(endpoint, **fields), stream())) == [1]
    with pytest.raises(RefusedError, match="HTTP 401") as caught:
        Reading(replace(endpoint, password="other"), stream()).rows()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, RefusedError), (404, ConfigError), (302, ConfigError), (400, ConfigError)],
)
def test_a_handshake_that_is_refused_is_told_at_once(
    status: int, error: type[TidegateError], endpoint: Endpoint, channel: Channel
) -> None:
    channel.refuse = [status]
    with pytest.raises(error, match=f"HTTP {status}"):
        Reading(endpoint, stream()).rows()
    assert channel.refuse == []


def test_a_server_that_is_busy_is_asked_again(endpoint: Endpoint, channel: Channel) -> None:
    channel.say(price=1)
    channel.refuse = [503, 429]
    assert numbers(Reading(endpoint, stream())) == [1]


def test_a_line_that_is_cut_in_the_handshake_is_opened_again(
    endpoint: Endpoint, channel: Channel, peer: WebSocketPeer
) -> None:
    channel.say(price=1)
    with Proxy(peer.port, Toxin("cut", 20)) as line:
        assert numbers(Reading(replace(endpoint, port=line.port), stream())) == [1]
        assert line.struck


def test_who_hangs_up_behind_the_last_message_may(
    endpoint: Endpoint, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The acknowledgement finds the line closed."""
    fill(channel, 3)
    kept = Apart.arrive

    def slowly(self: Apart, name: str, items: Any) -> int:
        if items:
            until = time.monotonic() + 10
            while threading.active_count() > before and time.monotonic() < until:
                time.sleep(0.001)
        return kept(self, name, items)

    before = threading.active_count()
    monkeypatch.setattr(Apart, "arrive", slowly)
    made = stream(messages=3, acknowledge={"op": "ack", "id": "{value}"})
    assert numbers(Reading(endpoint, made)) == [1, 2, 3]


def test_a_server_that_hangs_up_again_and_again_is_an_error(
    endpoint: Endpoint, channel: Channel
) -> None:
    channel.close_code = [1011] * 1000
    with pytest.raises(UnavailableError, match="hung up"):
        Reading(endpoint, stream(listen="1s")).rows()


@pytest.mark.parametrize("code", [1008, 3000, 4401])
def test_a_server_that_hangs_up_on_us_for_a_reason_is_not_asked_again(
    code: int, endpoint: Endpoint, channel: Channel
) -> None:
    channel.close_code = [code]
    with pytest.raises(RefusedError, match=f"hangs up .{code}.*because"):
        Reading(endpoint, stream()).rows()
    assert channel.lines == 1


def test_who_speaks_no_websocket_is_told(peer: WebSocketPeer, endpoint: Endpoint) -> None:
    from services.http import HttpPeer

    other = HttpPeer()
    try:
        with pytest.raises(ConfigError):
            Reading(replace(endpoint, port=other.port), stream()).rows()
    finally:
        other.close()


def test_a_name_that_leads_to_an_address_of_nobody_is_refused(
    endpoint: Endpoint, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.sources.web.address._forbidden", lambda ip: ip.is_loopback)
    with pytest.raises(RefusedError, match=r"leads to 127\.0\.0\.1"):
        Reading(replace(endpoint, host="localhost"), stream()).rows()
    assert channel.heard == []


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"acknowledge": {"ack": "{value}"}, "id": None}, "Say with id:"),
        ({"listen": "0s"}, "no time"),
        ({"listen": "2h"}, "no time"),
        ({"resume": {"field": "seq"}}, "send"),
        ({"cursor": "seq"}, "cursor"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(more: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        stream(**more)


def test_messages_are_neither_compared_nor_read_again(endpoint: Endpoint, tmp_path: Path) -> None:
    with (
        open_source(endpoint, stream(), NAME) as source,
        pytest.raises(ConfigError, match="cannot be asked what it has now"),
    ):
        source.count()

"""Asset watchers: the triggerer finds out which streams to run, and starts their sync DAGs.

Watched streams of one connection share one loop (Airflow's shared streams), which looks at the
source once a second; what it looks at, and when it says so, is :mod:`tidegate.watching`. Paced
streams share another, which asks the store when they are due: :mod:`tidegate.pacing`. A loop tells
names, and each stream's trigger listens for its own. An event is a wish for a run: it may get lost,
or come twice.

A trigger is known to Airflow by its arguments, which are stored in its database: the names, and
what the pipeline file says of where to look. So another table is another trigger, and the triggerer
needs no pipeline file. Secrets are asked of Airflow when the loop connects, and are kept nowhere.

Drivers block, so each loop has a thread of its own: as many threads as source servers, and one.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from tidegate.errors import TidegateError
from tidegate.fields import Span
from tidegate.job import Job
from tidegate.on_airflow.access import connection as resolve
from tidegate.pacing import Pacer
from tidegate.pipeline import kinds
from tidegate.pipeline.models import Stream
from tidegate.rounds import Rounds
from tidegate.watching import Watch

_log = logging.getLogger(__name__)

_ELSEWHERE = {"clean", "description", "expect", "load", "owner", "tags"}
"""What a stream says that has nothing to do with where its news are."""

_followed: defaultdict[Hashable, dict[str, Any]] = defaultdict(dict)
"""The streams whose triggers listen in this process, by the loop they listen to."""


def asset(job: Job) -> Asset | None:
    """What the sync DAG of *job* runs for, beside its schedule; None: for that alone."""
    stream = job.stream
    trigger: BaseEventTrigger
    if stream.watched:
        said = stream.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=_ELSEWHERE)
        text = json.dumps(said, sort_keys=True)
        trigger = SourceTrigger(job.source.connection, stream.reads, job.full_name, text)
        name = f"{job.full_name}.changed"
    elif stream.pace:
        trigger = PaceTrigger(job.full_name, stream.pace.least, stream.pace.most)
        name = f"{job.full_name}.due"
    else:
        return None
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


class Listener(BaseEventTrigger):  # type: ignore[misc]
    """Fires when the loop that it shares with others names its *stream* (``source.stream``)."""

    stream: str

    def rounds(self) -> Rounds:
        """What the loop walks; that of all which share it is the same."""
        raise NotImplementedError

    def said(self) -> Any:
        """What the loop is to know of the stream; None: leave it out."""
        raise NotImplementedError

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The loop: yields what is new, by stream, when there is something; never ends."""
        trigger = cls(**kwargs)
        rounds, key = trigger.rounds(), trigger.shared_stream_key()
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"{cls.__name__}-{trigger.stream}")
        loop, here = asyncio.get_running_loop(), copy_context()
        try:
            while True:
                streams = dict(_followed[key])
                found = await loop.run_in_executor(thread, here.run, rounds.look, streams)
                if found.news:
                    yield found.news
                await asyncio.sleep(found.pause)
        finally:  # a look may be under way: its thread closes behind it
            thread.submit(rounds.close)
            thread.shutdown(wait=False)

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[dict[str, Any]]
    ) -> AsyncIterator[TriggerEvent]:
        """An event for each time that the loop names this stream."""
        followed, mine = _followed[self.shared_stream_key()], self.said()
        if mine is not None:
            followed[self.stream] = mine
        try:
            async for news in shared_stream:
                if self.stream in news:
                    yield TriggerEvent({"stream": self.stream, "newest": news[self.stream]})
        finally:
            if mine is not None and followed.get(self.stream) is mine:
                del followed[self.stream]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same with a loop of its own; Airflow prefers the shared one."""
        _, said = self.serialize()
        async for event in self.filter_shared_stream(self.open_shared_stream(said)):
            yield event


class SourceTrigger(Listener):
    """Fires when *stream* (``source.stream``) has something new behind *connection*.

    *reads* names its kind; *says* is what its pipeline file says of it, as JSON.
    """

    def __init__(self, connection: str, reads: str, stream: str, says: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.connection = connection
        self.reads = reads
        self.stream = stream
        self.says = says

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Its path, and the arguments above."""
        names = ("connection", "reads", "stream", "says")
        return f"{__name__}.SourceTrigger", {name: getattr(self, name) for name in names}

    def shared_stream_key(self) -> Hashable:
        """One loop for each connection and kind."""
        return "tidegate", "watch", self.connection, self.reads

    def rounds(self) -> Rounds:
        """Looks at the source."""
        return Watch(self.connection, self.reads, resolve)

    def said(self) -> Stream | None:
        """None when this triggerer is of another version than what made the trigger.

        It waits then: Airflow starts a trigger that raises again, for ever.
        """
        try:
            return kinds.kinds()[self.reads].stream.model_validate_json(self.says)
        except (KeyError, ValueError, TidegateError) as error:
            reason = type(error).__name__
            _log.warning("%s is not watched: restart the triggerer (%s).", self.stream, reason)
            return None


class PaceTrigger(Listener):
    """Fires when *stream* (``source.stream``) is due, *least* to *most* seconds after a run."""

    def __init__(self, stream: str, least: float, most: float, **rest: Any) -> None:
        super().__init__(**rest)
        self.stream = stream
        self.least = least
        self.most = most

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Its path, and the arguments above."""
        names = ("stream", "least", "most")
        return f"{__name__}.PaceTrigger", {name: getattr(self, name) for name in names}

    def shared_stream_key(self) -> Hashable:
        """One loop for all."""
        return "tidegate", "pace"

    def rounds(self) -> Rounds:
        """Asks the store."""
        return Pacer(resolve)

    def said(self) -> Span:
        """The bounds."""
        return Span(self.least, self.most)

"""Which streams a cluster could have: its topics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from tidegate.connections import Endpoint
from tidegate.pipeline.kinds import Proposal
from tidegate.sources.kafka.broker import Broker

PATIENCE = 30.0
"""Seconds to wait for the brokers' answer."""
_COLUMNS = {
    "key": {"type": "string", "path": "$key"},
    "value": {"type": "json", "path": "$"},
    "at": {"type": "timestamp", "path": "$timestamp"},
}


def proposals(endpoint: Endpoint) -> Iterator[Proposal]:
    """One for each topic that the user may see, by name."""
    with closing(Broker(endpoint, None, PATIENCE, endpoint.name)) as broker:
        for name in broker.topics():
            yield Proposal(
                name,
                {"topic": name, "primary_key": "key", "columns": _COLUMNS},
                {
                    "primary_key": "the messages' key; without one, name what identifies a row",
                    "columns": "whole messages: name their members, like total: decimal(12,2)",
                },
            )

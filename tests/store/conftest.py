"""A store on each database, and a desk to load rows from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from store.increments import Desk
from tidegate.store import open_store
from tidegate.store.store import Store


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store on each of the two databases."""
    server: services.Server = request.getfixturevalue(request.param)
    with open_store(server.fresh()) as opened:
        yield opened


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Desk:
    """Where a test stages and loads."""
    return Desk(store, tmp_path)

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
def server(request: pytest.FixtureRequest) -> services.Server:
    """Each of the two databases that a store may be in."""
    found: services.Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(server: services.Server) -> Iterator[Store]:
    """An empty store on each of the two databases."""
    with open_store(server.fresh()) as opened:
        yield opened


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Desk:
    """Where a test stages and loads."""
    return Desk(store, tmp_path)

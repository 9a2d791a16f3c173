"""Logs are watched by their ends: what was committed behind the store's position is announced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sources.contract.peer import Row, old
from sources.contract.world import NAME, World
from sources.peers.log import Log, MariaDBLog, PostgreSQLLog
from tidegate.errors import TidegateError
from tidegate.sources.log.options import LogStream
from tidegate.sources.log.watching import LogLookout
from tidegate.watching import Watch


@pytest.fixture(params=[MariaDBLog, PostgreSQLLog], ids=lambda peer: peer.__name__)
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """The table ``orders`` on a server of either kind, and a store."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    (tmp_path / "peer").mkdir()
    peer: Log = request.param(tmp_path / "peer")
    yield World(peer, tmp_path)
    peer.close()


def watching(world: World) -> Watch:
    return Watch("shop", "log", world.resolve)


def test_a_change_or_a_deletion_is_announced_until_it_is_loaded(world: World) -> None:
    streams = {NAME: world.peer.stream()}
    world.peer.put(old(5))
    with closing(watching(world)) as watch:
        assert list(watch.look(streams).news) == [NAME]
        world.run()
        world.run()
        seen: list[str] = []
        for name in ("new", None, "newer"):
            if name is None:
                world.peer.delete([3])
            else:
                world.peer.put([Row(9, name)])
            assert list(watch.look(streams).news) == [NAME]
            with closing(watching(world)) as other:
                assert list(other.look(streams).news) == [NAME], "after the first one died"
            world.run()
            seen.append(str(sorted(world.stored())))
        assert seen == ["[1, 2, 3, 4, 5, 9]", "[1, 2, 4, 5, 9]", "[1, 2, 4, 5, 9]"]


def test_what_the_store_has_is_not_announced_by_who_comes_later(world: World) -> None:
    world.peer.put(old(5))
    world.run()

    def news() -> bool:
        world.run()
        with closing(watching(world)) as watch:
            return bool(watch.look({NAME: world.peer.stream()}).news)

    assert not all(news() for _ in range(20)), "but others write on the same server meanwhile"


def test_a_position_on_another_server_is_not_loaded(world: World) -> None:
    with closing(LogLookout(world.peer.endpoint)) as lookout:
        sight = lookout.look({NAME: world.peer.stream()})[NAME]
        assert not isinstance(sight, TidegateError)
        assert sight.loaded is not None
        world.peer.put(old(1))
        position = {**lookout._end(), "epoch": 0}
        assert sight.loaded({"position": position})
        assert not sight.loaded({"position": {**position, "server": "another"}})
        assert not sight.loaded({})
        assert not sight.loaded(None)


def test_a_server_that_is_away_is_an_error_of_the_whole_look(world: World) -> None:
    with (
        closing(LogLookout(replace(world.peer.endpoint, host="127.0.0.1", port=1))) as lookout,
        pytest.raises(TidegateError, match="does not answer"),
    ):
        lookout.look({NAME: world.peer.stream()})


def test_a_log_is_watched_only_where_it_is_written() -> None:
    said = {"log": "orders", "primary_key": "id"}
    assert not LogStream.model_validate(said).watched
    assert LogStream.model_validate({**said, "watch": True}).watched
    assert LogStream.model_validate({**said, "watch": True, "schedule": "5m"}).watched

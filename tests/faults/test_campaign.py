"""A short sample of the fault campaign: a few trials of each fault. ``make faults`` does them all.

``TIDEGATE_TRIALS`` is how often each fault strikes, with each source or store (default 1).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import services
from faults.bare import Place
from faults.campaign import FAULTS, Fault, Outcome, trials
from faults.checker import check
from faults.kinds import POINTS
from faults.runs import Warm
from faults.world import Servers, UnableError, World, place_of
from tidegate import faults as product

TRIALS = int(os.environ.get("TIDEGATE_TRIALS") or 1)
pytestmark = [pytest.mark.service, pytest.mark.slow]


@pytest.fixture(scope="module")
def servers(
    mariadb: services.Server, postgres: services.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("worlds")
    known = {"mariadb": mariadb, "postgres": postgres, "sqlite": services.Files(folder)}
    shared = set(known)
    with Warm() as warm:
        servers = Servers(warm, known, folder)
        yield servers
    for key in set(known) - shared:
        known[key].close()


def sample() -> Iterator[Any]:
    """Each fault with each store; the sources take turns."""
    for number, fault in enumerate(FAULTS):
        for place, store in enumerate(fault.stores):
            source = fault.sources[(number + place) % len(fault.sources)]
            yield pytest.param(fault, source, store, id=f"{fault.code}-{source}-{store}")


@pytest.fixture(scope="module")
def begun(servers: Servers) -> Iterator[dict[str, Future[list[Outcome]]]]:
    """Trials on the shared servers, some at once: most of their time they wait."""
    with ThreadPoolExecutor(3) as pool:
        yield {
            case.id: pool.submit(strike, servers, *case.values)
            for case in sample()
            if not case.values[0].own
        }
        pool.shutdown(cancel_futures=True)


def strike(servers: Servers, fault: Fault, source: str, store: str) -> list[Outcome]:
    return trials([servers], fault, source, store, TRIALS, 100 * FAULTS.index(fault) + 7)


@pytest.mark.parametrize(("fault", "source", "store"), list(sample()))
def test_a_fault_loses_nothing_and_repeats_nothing(
    servers: Servers,
    begun: dict[str, Future[list[Outcome]]],
    request: pytest.FixtureRequest,
    fault: Fault,
    source: str,
    store: str,
) -> None:
    if not fault.own:
        done = begun[request.node.callspec.id].result()
    else:
        try:
            fault.begin(servers, source, store)
        except (services.UnavailableServerError, UnableError) as reason:
            pytest.skip(str(reason))
        done = strike(servers, fault, source, store)
    bad = [f"{outcome}\n{outcome.again}" for outcome in done if not outcome.clean]
    assert not bad, "\n".join(bad)
    assert any(outcome.struck for outcome in done)


def test_every_named_point_of_the_path_is_struck() -> None:
    others = {"verify.chunk", "verify.before_repair"}
    others |= {name for name in product.POINTS if name.startswith("rabbitmq.")}
    assert {*POINTS, *others} == set(product.POINTS)


@pytest.mark.parametrize("point", product.POINTS)
def test_every_named_point_is_passed_in_one_place(point: str) -> None:
    root = Path(product.__file__).parent
    texts = [file.read_text(encoding="utf-8") for file in root.rglob("*.py")]
    assert sum(text.count(f'faults.point("{point}")') for text in texts) == 1


# The checker can fail ---------------------------------------------------------------------------

SPOILT = {
    "lost": "UPDATE items__item SET rev = rev - 1 WHERE id = (SELECT max(id) FROM items__item)",
    "duplicated": "UPDATE items__item__history SET _hash = (SELECT _hash FROM items__item AS i "
    "WHERE i._key = items__item__history._key) WHERE _seq < _seq_to",
    "stale": "UPDATE items__item__history SET rev = rev + 100 WHERE _seq < _seq_to",
    "backward": "UPDATE tidegate_stream SET watermark = (SELECT replace(watermark_after, "
    "'\"20', '\"19') FROM tidegate_run ORDER BY seq DESC LIMIT 1)",
    "other": "DELETE FROM tidegate_run WHERE seq = 1",
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def settled(request: pytest.FixtureRequest, servers: Servers) -> Iterator[tuple[Place, Place]]:
    """A source and a store that agree, and have a history."""
    with World(servers, "mariadb", request.param, 1) as world:
        world.once()
        world.writers.start()
        world.writers.wait(1)
        world.once()
        assert world.judge().clean
        yield place_of(world.source), place_of(world.store)


@pytest.mark.parametrize("what", SPOILT)
def test_the_checker_sees_what_is_wrong(settled: tuple[Place, Place], what: str) -> None:
    source, store = settled
    assert check(source, store).clean
    opened = store.connect()
    opened.execute("BEGIN")
    opened.execute(SPOILT[what])
    verdict = check(source, Within(store.kind, opened))
    opened.execute("ROLLBACK")
    opened.close()
    assert getattr(verdict, what)
    assert check(source, store).clean


class Within:
    """A store as one transaction sees it."""

    def __init__(self, kind: str, opened: Any) -> None:
        self.kind = kind
        self._opened = opened

    def rows(self, query: str) -> list[Any]:
        return [tuple(row) for row in self._opened.execute(query).fetchall()]

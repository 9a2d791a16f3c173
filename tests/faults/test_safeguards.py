"""One rule of the protocol each, in the smallest scenario that shows it.

Where a rule has a test beside the code that keeps it, it is not repeated here; the list of all
rules, and of the tests that watch them, is ``tests/faults/mutants.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shops import Shop
from tidegate import faults, path
from tidegate.model import Mode, Report, Window

PAIRS = [("sqlite", "sqlite"), ("mariadb", "postgres")]


class Crash(BaseException):
    """The process ends here, as far as the product can tell."""


@pytest.fixture(params=PAIRS, ids="-to-".join)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Orders numbered as they change, and no lookback: only the protocol keeps them."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    server, store = (request.getfixturevalue(name) for name in request.param)
    shop = Shop(server, server.fresh(), store.fresh(), {"lookback": 0, "page_rows": 3})
    shop.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed INTEGER NOT NULL, day DATE)",
        "CREATE INDEX by_changed ON orders (changed, id)",
    )
    shop.insert(*({"id": n, "changed": n, "day": "2026-02-01"} for n in range(1, 11)))
    return shop


def at(monkeypatch: pytest.MonkeyPatch, place: str, action: Callable[[], None]) -> None:
    """Do *action* when the product passes *place* for the first time."""
    waiting = [action]

    def point(name: str) -> None:
        if name == place and waiting:
            waiting.pop()()

    monkeypatch.setattr(faults, "point", point)


def keys(shop: Shop) -> list[int]:
    """What the store has, as numbers."""
    return sorted(shop.stored("id", "shop__orders"))


def test_a_row_that_arrives_while_the_last_page_is_read_is_not_passed_over(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run()
    at(
        monkeypatch,
        "pull.read",
        lambda: shop.insert({"id": 11, "changed": 11}, {"id": 12, "changed": 12}),
    )
    shop.insert({"id": 20, "changed": 10})
    shop.run()
    shop.run()
    assert keys(shop) == [*range(1, 13), 20]


def test_rows_between_the_old_watermark_and_the_new_one_are_read(shop: Shop) -> None:
    shop.run()
    shop.insert(*({"id": n, "changed": n} for n in range(11, 21)))
    shop.run()
    assert keys(shop) == [*range(1, 21)]


def test_a_crash_before_the_commit_leaves_rows_and_watermark(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        raise Crash

    shop.run()
    with shop.job().store() as store:
        before = store.state("shop.orders").watermark
    shop.insert(*({"id": n, "changed": n} for n in range(11, 21)))
    at(monkeypatch, "load.before_commit", crash)
    request = shop.request()
    staged = path.validate(shop.job(), path.clean(shop.job(), path.pull(shop.job(), request)))
    with pytest.raises(Crash):
        path.load(shop.job(), staged)
    with shop.job().store() as store:
        assert store.state("shop.orders").watermark == before
    assert keys(shop) == [*range(1, 11)]
    path.run(shop.job(), request)
    assert keys(shop) == [*range(1, 21)]


def test_a_load_that_is_repeated_changes_nothing(shop: Shop) -> None:
    request = shop.request(Mode.WINDOW, Window("2026-01-01", "2027-01-01"))
    job = shop.job(backfill={"by": "day"})
    staged = path.validate(job, path.clean(job, path.pull(job, request)))
    first = attempt(lambda: path.load(job, staged))
    again = attempt(lambda: path.load(job, staged))
    assert first.inserted == 10
    assert (again.repeated, again.seq, again.inserted) == (True, first.seq, 10)
    assert shop.stored("seq", "tidegate_run") == [first.seq]


def attempt(load: Callable[[], Report]) -> Report:
    """It must not fail."""
    try:
        return load()
    except Exception as error:  # noqa: BLE001 - whatever a driver calls it
        pytest.fail(f"the load fails: {error}")

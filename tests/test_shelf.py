"""Steps that share a process keep their pages in memory, as far as there is room."""

from __future__ import annotations

import pyarrow as pa
import pytest

from services import Server
from test_at_once import beside, home, rows, step_by_step  # noqa: F401 - home is a fixture
from test_path import content, opened
from tidegate import objects, settings, shelf, stage
from tidegate.errors import MismatchError
from tidegate.model import Increment, Mode, Request

REQUEST = Request("shop.orders", "run", Mode.INCREMENT)
BEGUN = Increment(
    request=REQUEST, step="pull", where="", origin="", columns=(), pages=(), read=1, generation=0,
    low=None, high=None, observed_at="",
)  # fmt: skip


def page(number: int) -> pa.Table:
    cells = [f"{number}-{row}" for row in range(1_000)]
    return pa.table({
        "_key": cells, "_token": pa.array([number] * 1_000, pa.int64()),
        "_held": pa.nulls(1_000, pa.string()),
    })  # fmt: skip


def files() -> list[str]:
    """Pages on disk."""
    return sorted(file.name for file in objects.path(settings.stage_root()).rglob("page-*"))


def staged(pages: int) -> Increment:
    writer = stage.Writer(stage.folder(REQUEST, "pull"))
    for number in range(pages):
        writer.write(page(number))
    return writer.close(BEGUN)


def test_pages_stay_in_memory_until_the_run_ends() -> None:
    with shelf.kept(stage.root(REQUEST)):
        done = staged(3)
        assert files() == []
        assert [each.equals(page(n)) for n, each in enumerate(stage.pages(done))] == [True] * 3
        assert [each.column_names for each in stage.pages(done, ["_key"])] == [["_key"]] * 3
        with pytest.raises(KeyError, match="other"):
            stage.read(done, done.pages[0], ["_key", "other"])
        with shelf.kept(stage.root(REQUEST)):
            assert stage.read(done, done.pages[1]).equals(page(1))
        assert stage.read(done, done.pages[2]).equals(page(2))
    with pytest.raises(MismatchError, match=r"is gone\. Clear the run from its pull task"):
        stage.read(done, done.pages[0])


def test_what_came_first_leaves_first_and_is_read_from_its_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf, "ROOM", 2 * page(0).nbytes)
    with shelf.kept(stage.root(REQUEST)):
        done = staged(5)
        assert files() == [f"page-{number:05d}.parquet" for number in range(3)]
        writer = stage.Writer(stage.folder(REQUEST, "validate"))
        for each in done.pages:
            writer.copy(done, each)
        copied = writer.close(BEGUN)
        assert (copied.rows, copied.first) == (5_000, 1)
        for increment in (done, copied):
            found = [*stage.pages(increment)]
            assert [each.equals(page(n)) for n, each in enumerate(found)] == [True] * 5
        (objects.path(done.where) / "page-00001.parquet").write_bytes(b"PAR1")
        with pytest.raises(MismatchError, match=r"page-00001\.parquet is not what was staged"):
            stage.read(copied, copied.pages[1])


@pytest.mark.parametrize("room", [0, 2_000, 1 << 30], ids=["none", "some", "plenty"])
def test_a_run_says_the_same_with_any_room(
    sqlite: Server, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(shelf, "ROOM", room)
    shop = opened(sqlite, sqlite)
    shop.insert(*rows(40))
    twin = beside(shop, sqlite)

    assert shop.run(page_rows=7).accounted == 40
    assert bool(files()) == (room < 1 << 30)
    step_by_step(twin, page_rows=7)

    assert content(shop) == content(twin)

"""Between tasks: what was staged comes back as it was, or not at all; the sweep takes the old."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from services import s3
from tidegate import objects, settings, stage, sweeping
from tidegate.connections import from_environment
from tidegate.errors import ConfigError, MismatchError, UnavailableError
from tidegate.model import Check, Increment, Mode, Request, Watermark, Window

DAY = 86_400
REQUEST = Request("shop.orders", "scheduled__2026-03-01T00:00:00+00:00/ä", Mode.INCREMENT)
PLAIN = Increment(
    request=REQUEST, step="pull", where="", origin="file:///x", columns=(), pages=(), read=7,
    generation=3, low=None, high=None, observed_at="2026-03-01T00:00:00+00:00",
)  # fmt: skip
FULL = replace(
    PLAIN,
    request=replace(
        REQUEST, mode=Mode.WINDOW, window=Window("2026-03-01", "2026-03-02"), attempt=2
    ),
    step="validate",
    columns=({"name": 'naïve "column"', "type": "decimal(12,2)", "nullable": True},),
    low=Watermark(2**63 - 1),
    high=Watermark("2026-03-01T00:00:00.000000"),
    cleaned=(("trim", 3), ("to_number", 0)),
    checks=(Check("expect_x", {"column": "a", "value_set": [1, None, "é"]}, 10, 2),),
    notes=("a note",),
)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty one, behind the connection ``stage_s3``."""
    server = s3.start_or_skip()
    said = {
        "conn_type": "aws", "login": server.admin.user, "password": server.admin.password,
        "extra": dict(server.admin.options),
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_STAGE_S3", json.dumps(said))
    objects.resolve_with(from_environment)
    name = server.fresh()
    yield name
    server.drop(name)


@pytest.fixture(params=["plain", "file", "memory", "odd", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where TIDEGATE_STAGE may lead."""
    if request.param == "s3":
        place = f"s3://stage_s3@{request.getfixturevalue('bucket')}/stage"
        monkeypatch.setenv("TIDEGATE_STAGE", place)
        return place
    places = {
        "plain": str(tmp_path / "stage"),
        "file": f"file://{tmp_path}/stage",
        "memory": f"memory://{tmp_path.name}/stage",
        "odd": f"file://{tmp_path}/a folder, with #1 100% odd? names",
    }
    monkeypatch.setenv("TIDEGATE_STAGE", places[request.param])
    return places[request.param]


def page(*keys: str | None, held: str | None = None) -> pa.Table:
    return pa.table({
        "_key": pa.array(keys, pa.string()),
        "_token": pa.array([None] * len(keys), pa.int64()),
        "_held": pa.array([held] * len(keys), pa.string()),
    })  # fmt: skip


def staged(increment: Increment = PLAIN, *tables: pa.Table) -> Increment:
    writer = stage.Writer(stage.folder(increment.request, increment.step))
    for table in tables or (page("1", "2"), page(None, held="[]"), page()):
        writer.write(table)
    return writer.close(increment)


@pytest.mark.parametrize("increment", [PLAIN, FULL])
def test_an_increment_comes_back_as_it_was_staged(root: str, increment: Increment) -> None:
    done = staged(increment)

    again = stage.load_manifest(done.where)

    assert again == done
    assert (again.rows, again.held, [page.rows for page in again.pages]) == (3, 1, [2, 1, 0])
    assert done.where.startswith(root)
    assert again == replace(increment, where=done.where, pages=done.pages, rows=3, held=1)
    assert [table.column("_key").to_pylist() for table in stage.pages(again)] == [
        ["1", "2"], [None], [],
    ]  # fmt: skip
    assert [table.column_names for table in stage.pages(again, ["_held"])] == [["_held"]] * 3


def test_a_copied_page_is_the_page_and_counts_as_one(root: str) -> None:
    tokens = pa.array([7, 9], pa.int64())
    first = page("1", "2").set_column(1, "_token", tokens)
    done = staged(PLAIN, first, page(None, held="[]"), page())

    writer = stage.Writer(stage.folder(REQUEST, "validate"))
    for number in (2, 1, 0):
        writer.copy(done, done.pages[number])
    copied = writer.close(PLAIN)

    assert [each.digest for each in copied.pages] == [done.pages[i].digest for i in (2, 1, 0)]
    assert [table.equals(read) for table, read in zip(
        (page(), page(None, held="[]"), first), stage.pages(copied), strict=True
    )] == [True] * 3  # fmt: skip
    assert (copied.rows, copied.held, copied.first) == (3, 1, 7)


def test_a_damaged_page_is_not_copied(root: str) -> None:
    done = staged()
    (objects.path(done.where) / done.pages[0].name).write_bytes(b"")
    with pytest.raises(MismatchError, match="is not what was staged"):
        stage.Writer(stage.folder(REQUEST, "validate")).copy(done, done.pages[0])


def test_an_increment_without_pages_comes_back(root: str) -> None:
    writer = stage.Writer(stage.folder(REQUEST, "pull"))
    done = writer.close(PLAIN)
    assert stage.load_manifest(done.where) == done
    assert list(stage.pages(done)) == []


def test_every_attempt_writes_a_folder_of_its_own(root: str) -> None:
    folders = {stage.folder(REQUEST, "pull") for _ in range(50)}
    folders |= {stage.folder(replace(REQUEST, attempt=2), "pull"), stage.folder(REQUEST, "clean")}
    assert len(folders) == 52
    runs = {folder.rsplit("/", 1)[0] for folder in folders}
    assert len(runs) == 1
    other = stage.folder(replace(REQUEST, run_id="another"), "pull").rsplit("/", 1)[0]
    assert other not in runs


@pytest.mark.parametrize("damage", ["cut", "one bit", "swapped", "empty"])
def test_a_page_that_is_not_what_was_written_is_refused(root: str, damage: str) -> None:
    done = staged(PLAIN, page("1", "2"), page("3", "4"))
    file = objects.path(done.where) / done.pages[0].name
    data = file.read_bytes()
    other = (objects.path(done.where) / done.pages[1].name).read_bytes()
    file.write_bytes(
        {
            "cut": data[:-1], "one bit": data[:20] + bytes([data[20] ^ 1]) + data[21:],
            "swapped": other, "empty": b"",
        }[damage]
    )  # fmt: skip
    with pytest.raises(MismatchError) as error:
        list(stage.pages(done))
    assert str(error.value).startswith("shop.orders: ")
    assert str(error.value).endswith(
        "page-00000.parquet is not what was staged. Clear the run from its pull task."
    )


def test_a_page_or_a_manifest_that_is_gone_is_told(root: str) -> None:
    done = staged()
    (objects.path(done.where) / done.pages[1].name).unlink()
    with pytest.raises(MismatchError, match=r"page-00001\.parquet is gone\. Clear the run"):
        list(stage.pages(done))
    (objects.path(done.where) / "manifest.json").unlink()
    with pytest.raises(MismatchError, match=r"manifest\.json is gone\. Clear the run"):
        stage.load_manifest(done.where)


def test_a_folder_that_was_never_finished_is_no_increment(root: str) -> None:
    writer = stage.Writer(stage.folder(REQUEST, "pull"))
    writer.write(page("1"))
    with pytest.raises(MismatchError):
        stage.load_manifest(writer.where)


def test_a_manifest_holds_neither_rows_nor_secrets(root: str) -> None:
    done = staged(PLAIN, page("a-value-of-a-row"))
    text = (objects.path(done.where) / "manifest.json").read_text(encoding="utf-8")
    assert "a-value-of-a-row" not in text


# The sweep --------------------------------------------------------------------------------------


def age(where: str, days: float) -> None:
    """Make the files of a staged folder, and the folders around them, *days* old."""
    then = time.time() - days * DAY
    step = Path(objects.path(where).path)
    for place in [*step.iterdir(), step, step.parent]:
        os.utime(place, (then, then))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIDEGATE_STAGE", f"file://{tmp_path}/stage")
    return tmp_path / "stage"


def run(name: str, step: str = "pull", stream: str = "shop.orders") -> Increment:
    return staged(replace(PLAIN, request=Request(stream, name), step=step))


def test_the_sweep_takes_what_is_older_and_nothing_younger(local: Path) -> None:
    old, other, young, fresh = (
        run("old"), run("other", stream="shop.lines"), run("young"), run("fresh"),
    )  # fmt: skip
    age(old.where, 3.1)
    age(other.where, 30)
    age(young.where, 2.9)

    assert sweeping.sweep(3) == 2

    assert stage.load_manifest(young.where) == young
    assert stage.load_manifest(fresh.where) == fresh
    for gone in (old, other):
        with pytest.raises(MismatchError):
            stage.load_manifest(gone.where)
    assert sweeping.sweep(3) == 0


def test_a_run_stays_while_any_step_of_it_is_young(local: Path) -> None:
    pulled = run("long", "pull")
    age(pulled.where, 10)
    cleaned = run("long", "clean")
    assert sweeping.sweep(3) == 0
    assert stage.load_manifest(pulled.where) == pulled
    age(cleaned.where, 4)
    assert sweeping.sweep(3) == 1


def test_a_run_that_has_only_begun_stays(local: Path) -> None:
    where = stage.folder(REQUEST, "pull")
    writer = stage.Writer(where)
    assert sweeping.sweep(0.5) == 0
    writer.write(page("1"))
    assert writer.close(PLAIN).pages


def test_the_age_comes_from_the_settings(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    age(run("old").where, 3.5)
    monkeypatch.setenv("TIDEGATE_STAGE_DAYS", "4")
    assert sweeping.sweep() == 0
    monkeypatch.delenv("TIDEGATE_STAGE_DAYS")
    assert sweeping.sweep() == 1


def test_strangers_in_the_folder_stay_and_nothing_staged_is_nothing_to_sweep(local: Path) -> None:
    assert sweeping.sweep(3) == 0
    run("fresh")
    (local / "README").write_text("not ours")
    assert sweeping.sweep(3) == 0
    assert (local / "README").exists()


def test_the_sweep_of_another_file_system_keeps_what_is_young(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDEGATE_STAGE", "memory://sweep/stage")
    done = run("young")
    assert sweeping.sweep(3) == 0
    assert stage.load_manifest(done.where) == done
    assert sweeping.sweep(-1) == 1
    with pytest.raises(MismatchError):
        stage.load_manifest(done.where)


def test_the_sweep_of_s3_takes_the_old_and_keeps_the_young(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_STAGE", f"s3://stage_s3@{bucket}/stage")
    done = run("young")
    assert (sweeping.sweep(3), sweeping.sweep(-1)) == (0, 1)
    with pytest.raises(MismatchError, match="is gone"):
        stage.load_manifest(done.where)


def test_a_stage_on_s3_goes_by_a_connection_that_is_one_of_s3(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", "mysql://u:p@h/d")
    monkeypatch.setenv("TIDEGATE_STAGE", f"s3://shop@{bucket}/stage")
    with pytest.raises(ConfigError, match="'shop' is of the type 'mysql'"):
        staged()


def test_a_stage_that_does_not_answer_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"conn_type": "aws", "extra": {"anonymous": True, "endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", json.dumps(said))
    monkeypatch.setenv("TIDEGATE_STAGE", "s3://away@bucket/stage")
    objects.resolve_with(from_environment)
    with pytest.raises(UnavailableError, match="cannot be written"):
        staged()
    with pytest.raises(UnavailableError, match="cannot be read"):
        stage.load_manifest(f"{settings.stage_root()}/x")


def test_staging_is_under_the_home_folder_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIDEGATE_STAGE", raising=False)
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    assert Path(objects.path(staged().where).path).is_relative_to(tmp_path / "home" / "stage")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEGATE_HOME", "near")
    done: Any = staged()
    assert stage.load_manifest(done.where) == done
    assert list((tmp_path / "near" / "stage").iterdir())


def test_a_disk_without_room_says_so_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_STAGE", "/dev/full/stage")
    with pytest.raises(UnavailableError, match=r"cannot be written: Not a directory\. Make room"):
        stage.Writer(stage.folder(REQUEST, "pull"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path))
    writer = stage.Writer(stage.folder(REQUEST, "pull"))
    (Path(writer.where) / "page-00000.parquet").symlink_to("/dev/full")
    with pytest.raises(UnavailableError, match="No space left on device"):
        writer.write(page("1"))

"""What is kept no longer goes to files, whole; and the store answers for the rest as before."""

from __future__ import annotations

import datetime as dt
import random
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import services
from store.deliveries import Delivery
from tidegate import objects
from tidegate.errors import MismatchError, TrimmedError
from tidegate.pipeline.models import Keep
from tidegate.store import retention
from tidegate.store.checks import invariants
from tidegate.store.store import Store

TYPES = {
    "id": "int64", "name": "string", "total": "decimal(12,2)", "exact": "numeric",
    "rate": "float64", "raw": "bytes", "note": "json", "day": "date", "at": "time",
    "seen": "timestamp", "flag": "bool", "gone": "bool", "updated_at": "datetime",
}  # fmt: skip
MEANING = {
    "cursor": "updated_at",
    "deleted": {"column": "gone"},
    "load": {"entities": [{"type": "Thing", "key": "name", "attributes": ["total"]}]},
}
START = dt.datetime.fromisoformat("2026-01-01")
LATER = dt.datetime.fromisoformat("2100-01-01T00:00:00+00:00")
DAY = Keep.model_validate({"history": "1d"})


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "archive"
    monkeypatch.setenv("TIDEGATE_ARCHIVE", f"file://{folder}")
    return folder


@pytest.fixture
def things(store: Store, tmp_path: Path) -> Delivery:
    return Delivery(store, tmp_path, "shop.things", TYPES, MEANING)


def row(chance: random.Random, key: int, seconds: int | None = None) -> dict[str, Any]:
    moment = START + dt.timedelta(
        seconds=chance.randint(0, 90) if seconds is None else seconds, microseconds=7
    )
    return {
        "id": key, "name": chance.choice(["ann", "bob", "", None]),
        "total": chance.choice([Decimal("1.50"), Decimal("-0.01"), None]),
        "exact": chance.choice(["0.00000000000000000001", "12345678901234567890.5", None]),
        "rate": chance.choice([0.1, 1e300, None]), "raw": chance.choice([b"\x00\xff", b"", None]),
        "note": '{"a": [1, 2]}', "day": moment.date(), "at": moment.time(),
        "seen": moment.replace(tzinfo=dt.UTC), "flag": chance.choice([True, False, None]),
        "gone": chance.random() < 0.2, "updated_at": moment,
    }  # fmt: skip


def fill(things: Delivery, seed: int, loads: int = 6) -> None:
    """Loads whose rows are in random order, so some versions come late."""
    chance = random.Random(seed)
    for _ in range(loads):
        keys = chance.sample(range(20), 12)
        rows = [row(chance, key) for key in keys]
        for item in rows:
            if chance.random() < 0.2:
                item["_token"] = chance.randint(1, 1 << 20)
        things.load(rows)


def set_times(store: Store) -> None:
    """Commit *n* was on the *n*-th of January 2099."""
    services.Server(store.endpoint).execute(
        store.endpoint,
        *[
            f"UPDATE tidegate_run SET committed_at = '2099-01-{seq:02d}T00:00:00.000000+00:00' "
            f"WHERE seq = {seq}"
            for seq in range(1, 29)
        ],
        "UPDATE tidegate_head SET committed_at = "
        "(SELECT committed_at FROM tidegate_run WHERE seq = tidegate_head.seq)",
    )


def after(commit: int, age: dt.timedelta = dt.timedelta(days=1)) -> dt.datetime:
    """The moment at which what *commit* ended is *age* old."""
    return dt.datetime(2099, 1, commit, tzinfo=dt.UTC) + age


def history(store: Store) -> list[dict[str, Any]]:
    """As the reading API gives it: every row of history, typed."""
    from tidegate.store.record import frames

    with store._reading() as connection:
        columns = [*frames.columns_of(connection, "shop.things"), *frames.own(*retention._OWN)]
        pages = list(frames.pages(connection, "shop__things__history", columns))
    rows: list[dict[str, Any]] = pa.concat_tables(pages).to_pylist() if pages else []
    return sorted(rows, key=lambda row: (row["_seq_to"], row["_key"], row["_hash"]))


def files(archive: Path, kind: str = "history") -> list[Path]:
    return sorted(archive.rglob(f"*-{kind}.parquet"))


def archived(archive: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for file in files(archive):
        rows += parquet.read_table(file).to_pylist()
    return sorted(rows, key=lambda row: (row["_seq_to"], row["_key"], row["_hash"]))


@pytest.mark.parametrize("seed", range(3))
def test_archive_and_store_together_hold_what_the_store_held(
    things: Delivery, archive: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PART_ROWS", 7)
    fill(things, seed)
    set_times(things.store)
    before, digest = history(things.store), things.store.digest()
    moved = things.store.trim("shop.things", DAY, after(4))
    left = history(things.store)
    assert moved.history == len(before) - len(left) > 7
    assert sorted([*left, *archived(archive)], key=str) == sorted(before, key=str)
    assert {row["_seq_to"] for row in left} >= {5, 6}
    remains = things.store.digest()
    assert (remains.records, remains.entities) == (digest.records, digest.entities)
    with things.store._reading() as connection:
        assert invariants.check(connection) == []
    again = things.store.trim("shop.things", DAY, after(4))
    assert (again.history, len(files(archive))) == (0, -(-moved.history // 7))


def test_types_survive_the_archive(things: Delivery, archive: Path) -> None:
    fill(things, 1)
    things.store.trim("shop.things", DAY, LATER)
    (file,) = files(archive)
    schema = parquet.read_table(file).schema
    for column in things.columns:
        assert schema.field(column.name).type == column.type.arrow, column.name
    assert file.parts[-2] == "shop.things"


@pytest.mark.parametrize("seed", range(2))
def test_every_question_from_the_horizon_on_is_answered_as_before(
    things: Delivery, seed: int
) -> None:
    fill(things, seed, loads=8)
    set_times(things.store)
    moments = [START + dt.timedelta(seconds=45), dt.datetime(2099, 1, 4), dt.datetime(2099, 1, 9)]

    def answers(valid: dt.datetime | None) -> list[Any]:
        return [
            things.store.record("shop.things", str(key), as_of_seq=seq, valid=valid)
            for key in range(0, 20, 3)
            for seq in (4, 6, 8)
        ]

    before = {moment: answers(moment) for moment in [None, *moments]}
    assert things.store.trim("shop.things", DAY, after(4)).history > 5
    assert things.store.head().horizon == 4
    assert answers(None) == before[None]
    for moment in moments[1:]:
        assert answers(moment) == before[moment]
    with pytest.raises(TrimmedError):
        things.store.record("shop.things", "1", valid=moments[0])


def test_a_version_stays_while_what_replaced_it_has_not_begun_in_the_world(
    things: Delivery,
) -> None:
    chance = random.Random(1)
    old = {**row(chance, 1, 0), "name": "old price", "gone": False}
    new = {**old, "name": "new price", "updated_at": dt.datetime(2099, 6, 1)}
    things.load([old])
    things.load([new])
    things.load([row(chance, 2)])
    set_times(things.store)
    assert things.store.trim("shop.things", DAY, after(3)).history == 0
    found = things.store.record("shop.things", "1", valid=dt.datetime(2099, 2, 1))
    assert found.version is not None and found.version.row["name"] == "old price"


def test_questions_below_the_horizon_are_refused(things: Delivery) -> None:
    fill(things, 1)
    set_times(things.store)
    things.store.trim("shop.things", DAY, after(4))
    with pytest.raises(TrimmedError, match="history up to commit 4 was trimmed"):
        things.store.record("shop.things", "1", as_of_seq=3)
    with pytest.raises(TrimmedError):
        things.store.changes(3)
    things.store.changes(4)


def test_changes_after_the_horizon_are_as_they_were(things: Delivery) -> None:
    fill(things, 2)
    set_times(things.store)
    before = things.store.changes(4).changes
    assert before
    things.store.trim("shop.things", DAY, after(4))
    seq = things.store.head().seq
    assert seq > 6
    assert things.store.changes(4).changes == before


def test_history_waits_for_the_slowest_subscriber(things: Delivery) -> None:
    fill(things, 1)
    set_times(things.store)
    things.store.subscribe("search", since=2)
    things.store.subscribe("mail", since=5)
    moved = things.store.trim("shop.things", DAY, LATER)
    assert moved.waits_for == "search"
    assert things.store.head().horizon <= 2
    assert {row["_seq_to"] for row in history(things.store)} >= {3, 4, 5, 6}
    things.store.changes(2)
    things.store.acknowledge("search", 6)
    assert things.store.trim("shop.things", DAY, LATER).waits_for == "mail"
    assert things.store.head().horizon == 5


def test_without_a_policy_everything_stays(things: Delivery, archive: Path) -> None:
    fill(things, 1)
    before, seq = history(things.store), things.store.head().seq
    assert things.store.trim("shop.things", Keep(), LATER).history == 0
    assert (history(things.store), things.store.head().seq) == (before, seq)
    assert not archive.exists()


def test_a_dry_run_says_what_would_go_and_moves_nothing(things: Delivery, archive: Path) -> None:
    fill(things, 1)
    before = history(things.store)
    would = things.store.trim("shop.things", DAY, LATER, dry_run=True)
    assert (history(things.store), archive.exists()) == (before, False)
    assert things.store.trim("shop.things", DAY, LATER) == would
    assert would.history > 0


def test_settled_rows_in_quarantine_leave_by_age_with_their_reasons(
    things: Delivery, archive: Path
) -> None:
    fill(things, 1, loads=1)
    held = [
        "INSERT INTO tidegate_quarantine (stream, key, state, token, source_hash, reasons, row, "
        f"run_id, seq, held_at) VALUES ('shop.things', '{key}', '{state}', 1, 2, "
        """'[{"message": "no"}]', '{"id": 1}', 'run', 1, """
        f"'2099-01-{day}T00:00:00.000000+00:00')"
        for day, state, key in (
            ("01", "held", "?0000000000000002"),
            ("01", "held", "01"),
            ("02", "mended", "02"),
            ("03", "outdated", "03"),
            ("09", "gone", "09"),
        )
    ]
    services.Server(things.store.endpoint).execute(things.store.endpoint, *held)
    keep = Keep.model_validate({"quarantine": "1d"})
    now = dt.datetime(2099, 1, 5, tzinfo=dt.UTC)
    assert things.store.trim("shop.things", keep, now, dry_run=True).quarantine == 3
    assert things.store.trim("shop.things", keep, now).quarantine == 3
    (file,) = files(archive, "quarantine")
    found = parquet.read_table(file).to_pylist()
    assert [(row["key"], row["state"], row["attempts"]) for row in found] == [
        ("?0000000000000002", "held", 1), ("02", "mended", 1), ("03", "outdated", 1),
    ]  # fmt: skip
    assert {(row["reasons"], row["row"]) for row in found} == {('[{"message": "no"}]', '{"id": 1}')}
    left = things.store.held("shop.things", state=None)
    assert {(row["key"], row["state"]) for row in left} == {("01", "held"), ("09", "gone")}
    assert things.store.head().horizon == 0


CHILD = """
import os, signal, sys
from datetime import datetime
import sqlalchemy as sa
from tidegate.connections import parse
from tidegate.pipeline.models import Keep
from tidegate.store import open_store

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def before(connection, cursor, statement, *rest):
    if " ".join(statement.split()).startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

with open_store(parse("tidegate_store", sys.argv[1])) as store:
    store.trim("shop.things", Keep(history="1d"), datetime.fromisoformat(sys.argv[3]))
"""


@pytest.mark.parametrize(
    "statement", ['DELETE FROM "shop__things__history"', "INSERT INTO tidegate_run"]
)
def test_killed_between_writing_and_deleting_it_repeats_without_harm(
    things: Delivery, archive: Path, statement: str
) -> None:
    fill(things, 1)
    set_times(things.store)
    before, head = history(things.store), things.store.head()
    command = [
        sys.executable, "-c", CHILD, services.Server(things.store.endpoint).uri(
            things.store.endpoint
        ), statement, after(4).isoformat(),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120,
        env={
            "PYTHONPATH": str(Path(retention.__file__).parents[2]), "PATH": "",
            "TIDEGATE_ARCHIVE": f"file://{archive}",
        },
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(files(archive)) == 1
    assert (history(things.store), things.store.head()) == (before, head)
    fill(things, 9, loads=1)
    set_times(things.store)
    before = history(things.store)
    things.store.trim("shop.things", DAY, after(5))
    assert len(files(archive)) == 1
    assert sorted([*history(things.store), *archived(archive)], key=str) == sorted(before, key=str)


def test_a_file_that_does_not_read_back_removes_nothing(
    things: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(things, 1)
    before, head = history(things.store), things.store.head()
    disk = type(objects.path("file:///archive"))
    monkeypatch.setattr(disk, "read_bytes", lambda path: path.open("rb").read()[:-1])
    with pytest.raises(MismatchError, match="does not hold what was written"):
        things.store.trim("shop.things", DAY, LATER)
    assert (history(things.store), things.store.head()) == (before, head)


def test_every_part_has_its_line_in_the_ledger(things: Delivery) -> None:
    fill(things, 1)
    things.store.trim("shop.things", DAY, LATER)
    line = things.store.runs("shop.things", 1)[0]
    assert (line["mode"], line["seq"]) == ("keep", things.store.head().seq)
    assert line["batch"].endswith("/shop.things/000001")

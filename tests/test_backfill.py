"""A large window is read chunk by chunk; killed anywhere, it goes on with what is not loaded."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services import Server
from shops import STAMP, Shop
from tidegate import backfill, cli, faults, progress
from tidegate.cli.progress import shown
from tidegate.cli.words import DONE
from tidegate.model import Mode, Window
from tidegate.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
T0 = datetime(2026, 3, 1)
ROWS = 100
WINDOW = Window.between(T0, T0 + timedelta(days=1))
PAIRS = [("mariadb", "postgres"), ("postgres", "sqlite")]
FILE = """\
connection: shop
streams:
  orders:
    table: orders
    primary_key: id
    cursor: changed
    page_rows: 8
    backfill: {chunk_rows: 20}
"""
ASKED = ["run", "shop.orders", "--from", WINDOW.since, "--to", WINDOW.until]
LINES = "window_since, pulled"


def opened(server: Server, store: Server) -> Shop:
    """A hundred orders, in pairs of one moment."""
    shop = Shop(server, server.fresh(), store.fresh())
    shop.execute(
        f"CREATE TABLE orders (id INTEGER PRIMARY KEY, total VARCHAR(9), "
        f"changed {STAMP[server.kind]} NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    moments = [str(T0 + timedelta(seconds=number // 2 * 60)) for number in range(ROWS)]
    shop.insert(*({"id": n, "total": f"{n}.50", "changed": at} for n, at in enumerate(moments, 1)))
    return shop


@pytest.fixture(params=PAIRS, ids="-to-".join)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """With what a command line needs in the environment."""
    server, store = (request.getfixturevalue(name) for name in request.param)
    shop = opened(server, store)
    (tmp_path / "shop.yaml").write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("TIDEGATE_PIPELINES", str(tmp_path))
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", server.uri(shop.source))
    monkeypatch.setenv("AIRFLOW_CONN_TIDEGATE_STORE", store.uri(shop.store))
    return shop


@pytest.fixture
def small(sqlite: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The same on SQLite alone, for what does not depend on the database."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    return opened(sqlite, sqlite)


def killed(*arguments: str, fault: str) -> None:
    """The command in a process of its own, which dies at *fault*."""
    done = subprocess.run(
        [sys.executable, "-m", "tidegate.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "include"), faults.VARIABLE: fault},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "--resume night" in done.stderr


@pytest.mark.parametrize("shop", PAIRS[:1], indirect=True)
def test_a_run_that_was_killed_three_times_goes_on_and_reads_no_chunk_twice(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*ASKED, "--resume", "night"]
    killed(*asked, fault="load.after_commit:kill:1")
    shop.execute("INSERT INTO orders VALUES (0, 'new', '2026-03-01 00:00:00')")
    killed(*asked, fault="load.before_commit:kill:2")
    killed(*asked, fault="pull.page:kill:4")
    before = shop.stored(LINES, "tidegate_run", "ORDER BY seq")
    assert len(before) >= 3

    assert cli.main(asked) == DONE

    said = capsys.readouterr()
    lines = shop.stored(LINES, "tidegate_run", "ORDER BY seq")
    assert lines[: len(before)] == before
    edges = [since for since, _ in lines]
    assert edges == sorted(set(edges)), "each chunk once, in order"
    assert sum(pulled for _, pulled in lines) == ROWS
    rest = sum(pulled for _, pulled in lines[len(before) :])
    assert said.out.startswith(f"shop.orders (window): {rest} pulled, {rest} inserted, ")
    assert shop.stored("id, total") == [(n, f"{n}.50") for n in range(1, ROWS + 1)]
    assert cli.main([*asked, "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["pulled"] == 0


def test_the_chunks_of_a_run_are_runs_of_its_name_and_move_no_watermark(
    small: Shop,
) -> None:
    job = small.job(backfill={"chunk_rows": 30})
    request = small.request(Mode.WINDOW, WINDOW)
    chunks = backfill.left(job, WINDOW, request.run_id)
    assert [chunk.rows for chunk in chunks] == [30, 30, 30, 10]

    report = backfill.run(job, request, chunks)

    assert (report.pulled, report.inserted, report.watermark) == (ROWS, ROWS, None)
    assert small.stored("run_id, mode, pulled", "tidegate_run", "ORDER BY seq") == [
        (request.run_id, "window", rows) for rows in (30, 30, 30, 10)
    ]
    assert backfill.left(job, WINDOW, request.run_id) == []
    assert backfill.left(job, WINDOW, "another") == chunks
    wider = Window.between(T0 - timedelta(days=1), T0 + timedelta(days=2))
    assert backfill.left(job, wider, request.run_id) == [
        Window(wider.since, WINDOW.since), Window(WINDOW.until, wider.until),
    ]  # fmt: skip


def test_a_chunk_of_which_only_a_part_is_loaded_is_read_again(
    small: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.run(page_rows=8)
    job = small.job(backfill={"chunk_rows": 50}, page_rows=8)
    request = small.request(Mode.WINDOW, WINDOW)
    chunks = backfill.left(job, WINDOW, request.run_id)
    monkeypatch.setattr(faults, "_passed", {})
    monkeypatch.setenv(faults.VARIABLE, "load.after_commit:fail:3")
    with pytest.raises(OSError, match="asked for a failure"):
        backfill.run(job, request, chunks)
    assert len(small.stored("part", "tidegate_run", "WHERE mode = 'window'")) == 3
    assert backfill.left(job, WINDOW, request.run_id) == chunks


def test_progress_is_told_of_all_chunks_together(small: Shop) -> None:
    job = small.job(backfill={"chunk_rows": 30}, page_rows=8)
    request = small.request(Mode.WINDOW, WINDOW)
    found: list[Progress] = []
    with progress.told(found.append, ROWS, every=0):
        backfill.run(job, request, backfill.left(job, WINDOW, request.run_id))
    steps = {step: [at.rows for at in found if at.step == step] for step in ("pull", "load")}
    assert steps["pull"][:5] == [8, 16, 24, 30, 38]
    assert steps["pull"][-1] == steps["load"][-1] == ROWS
    assert {at.expected for at in found} == {ROWS}
    assert found[-1].left == 0
    assert str(found[0]).startswith("pull: 8 of about 100 rows (8%), ")


def test_progress_says_how_long_the_rest_will_take() -> None:
    assert str(Progress("load", 50_000, 200_000, 2.0)) == (
        "load: 50,000 of about 200,000 rows (25%), 25,000 rows/s, 6 s left"
    )
    assert str(Progress("load", 50_000, 1_000_000_000, 2.0)).endswith("11 h 7 min left")
    assert str(Progress("pull", 7, None, 1.0)) == "pull: 7 rows, 7 rows/s"
    assert Progress("pull", 50, 40, 1.0).to_json()["seconds_left"] == 0


class Terminal(io.StringIO):
    """Standard error of somebody who looks."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_for_each_step_and_machines_see_nothing(
    small: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for quiet in (True, False):
        with shown("shop.orders", 2 * ROWS, quiet=quiet):
            small.run(page_rows=8)
        assert bool(terminal.getvalue()) is not quiet
    for word in ("shop.orders: pull", "shop.orders: load", f"{ROWS}/{2 * ROWS}", "rows/s"):
        assert word in terminal.getvalue()


def test_elsewhere_lines_tell_how_far_a_run_is(
    small: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0)
    with shown("shop.orders", quiet=False):
        small.run(page_rows=60)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("shop.orders: pull: 60 of about 100 rows (60%), ")
    assert last.startswith(f"shop.orders: load: {ROWS} of about {ROWS} rows (100%), ")


def test_what_is_over_at_once_is_not_told() -> None:
    found: list[Progress] = []
    with progress.told(found.append, every=0):
        progress.count("load", 3, 3)
        assert found == []
        progress.count("pull", 5)
        progress.count("load", 3, 6)
    assert [(at.step, at.rows) for at in found] == [("pull", 5), ("load", 6)]


def test_a_first_load_is_measured_by_the_servers_own_estimate(shop: Shop) -> None:
    shop.execute("ANALYZE TABLE orders" if shop.source.kind == "mysql" else "ANALYZE orders")
    found: list[Progress] = []
    with progress.told(found.append, every=0):
        shop.run(page_rows=60)
    first, *_ = found
    assert (first.step, first.rows, first.expected) == ("pull", 60, ROWS)

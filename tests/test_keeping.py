"""From ``keep:`` in a pipeline file to files in the archive: in the shell and in Airflow."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import services
from store import old_store
from tidegate import cli
from tidegate.pipeline.keeping import policies
from tidegate.pipeline.reader import read_all

INCLUDE = Path(cli.__file__).parents[2]
FILE = """\
connection: some_shop
defaults: {keep: {history: 0s, quarantine: 0s}}
streams:
  orders: {table: orders, primary_key: id, cursor: updated_at}
  lines: {table: lines, primary_key: id, cursor: id, keep: {quarantine: 30d}}
  things: {table: things, primary_key: id, cursor: id, keep: {}}
"""


class Shell:
    """``tidegate`` over an upgraded store with history and three settled rows in quarantine."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.archive = folder / "archive"
        self.pipelines = folder / "pipelines"
        self.pipelines.mkdir()
        (self.pipelines / "shop.yaml").write_text(FILE, encoding="utf-8")
        self.capture = capture

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)"""
        code = cli.main(["--pipelines", str(self.pipelines), *arguments])
        text = self.capture.readouterr()
        return code, text.out, text.err


@pytest.fixture
def shell(
    tmp_path: Path, sqlite: services.Server, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:  # fmt: skip
    endpoint = sqlite.fresh()
    old_store.build(sqlite, endpoint, random.Random(1))
    sqlite.execute(endpoint, "UPDATE tidegate_quarantine SET state = 'mended'")
    monkeypatch.setenv("AIRFLOW_CONN_TIDEGATE_STORE", sqlite.uri(endpoint))
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    monkeypatch.delenv("TIDEGATE_ARCHIVE", raising=False)
    monkeypatch.delenv("TIDEGATE_STORE_UPGRADE", raising=False)
    return Shell(tmp_path, capsys)


def test_streams_keep_what_their_own_block_or_the_defaults_say(shell: Shell) -> None:
    found = policies(read_all(shell.pipelines))
    assert {name: tuple(keep.model_dump().values()) for name, keep in found.items()} == {
        "shop.orders": ("0s", "0s", None),
        "shop.lines": (None, "30d", None),
    }
    found = policies(read_all(shell.pipelines), days=7)
    assert {name: tuple(keep.model_dump().values()) for name, keep in found.items()} == {
        "shop.orders": ("7d", "7d", None),
        "shop.lines": (None, "7d", None),
    }


def test_keep_says_how_much_it_moved(shell: Shell) -> None:
    code, out, err = shell("keep", "--dry-run", "--json")
    assert (code, err) == (0, "")
    would = json.loads(out)
    assert [item["stream"] for item in would] == ["shop.orders", "shop.lines"]
    assert would[0]["history"] > 5
    assert (would[0]["quarantine"], would[1]["history"]) == (3, 0)
    assert not shell.archive.exists()
    assert shell("keep", "--json")[1] == out
    assert len(list(shell.archive.rglob("*.parquet"))) == 2
    code, out, _ = shell("keep")
    assert code == 0
    assert out.splitlines()[0].split() == [
        "stream",
        "history",
        "quarantine",
        "arrivals",
        "waits_for",
    ]
    assert out.splitlines()[1].split() == ["shop.orders", "0", "0", "0"]


def test_another_age_may_be_given_this_once(shell: Shell) -> None:
    code, out, _ = shell("keep", "shop.orders", "--days", "36500", "--json")
    assert (code, json.loads(out)[0]["history"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop.things"], "shop.things: it has no keep: block, so everything stays"),
        (["shop.order"], "no stream 'shop.order'. Did you mean 'shop.orders'?"),
        (["--days", "-1"], "--days is -1. Give 0 or more"),
        (["--days", "36526"], "--days is 36526. Give 0 or more, 36525 at most"),
    ],
)
def test_what_cannot_be_kept_is_a_mistake_in_words(
    shell: Shell, arguments: list[str], message: str
) -> None:
    code, _, err = shell("keep", *arguments)
    assert code == 2
    assert message in err


def test_upgrade_says_from_where_to_where(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_STORE_UPGRADE", "refuse")
    code, _, err = shell("status")
    assert code == 2
    assert "then run: tidegate upgrade" in err
    assert shell("upgrade")[:2] == (0, "the store was upgraded from schema 0001 to 0006\n")
    assert shell("upgrade")[:2] == (0, "the store has schema 0006: there is nothing to do\n")
    assert json.loads(shell("upgrade", "--json")[1]) == {"before": "0006", "after": "0006"}
    assert shell("status")[0] == 0


RUN = """
import json
from airflow.sdk.execution_time.context import set_current_context
from tidegate.on_airflow import keeping

dag = keeping.dag()
tasks = {name: task for name, task in dag.task_dict.items()}
streams = tasks["streams"].python_callable()
moved = []
for params in ({"days": None, "dry_run": True}, {"days": 36500, "dry_run": False},
               {"days": None, "dry_run": False}):
    with set_current_context({"params": params}):
        moved.append([tasks["trim"].python_callable(stream) for stream in streams])
print(json.dumps({"schedule": str(dag.schedule), "params": sorted(dag.params), "moved": moved}))
"""


def test_the_dag_does_the_same_with_days_and_dry_run_as_params(shell: Shell) -> None:
    environment = {
        **os.environ, "PYTHONPATH": str(INCLUDE), "TIDEGATE_PIPELINES": str(shell.pipelines),
        "AIRFLOW_HOME": str(shell.folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (said["schedule"], said["params"]) == ("47 3 * * *", ["days", "dry_run"])
    would, none, moved = ([item["history"] for item in part] for part in said["moved"])
    assert would == moved
    assert (would[0] > 5, none) == (True, [0, 0])

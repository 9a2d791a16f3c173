"""``verify-store`` in the shell and ``tidegate.verify`` in Airflow: found, repaired, told."""

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
from store import kingdoms
from store.faults import Broken
from tidegate import cli
from tidegate.store import open_store

INCLUDE = Path(cli.__file__).parents[2]


class Shell:
    """``tidegate`` over a store with everything in it."""

    def __init__(self, folder: Path, endpoint: Any, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.capture = capture

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)"""
        code = cli.main(["--pipelines", str(self.folder), *arguments])
        text = self.capture.readouterr()
        return code, text.out, text.err

    def forge(self, statement: str) -> None:
        """Change the store past everything."""
        with open_store(self.endpoint) as store:
            Broken(store).run(statement)


@pytest.fixture
def shell(
    tmp_path: Path, sqlite: services.Server, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:  # fmt: skip
    endpoint = sqlite.fresh()
    with open_store(endpoint) as store:
        for delivery in kingdoms.streams(store, tmp_path):
            delivery.load(kingdoms.rows(random.Random(1), delivery.name, 20))
    monkeypatch.setenv("AIRFLOW_CONN_TIDEGATE_STORE", sqlite.uri(endpoint))
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    return Shell(tmp_path, endpoint, capsys)


STUB = "UPDATE entity SET name = 'x' WHERE type = 'Product' AND key = '7'"


def test_a_store_in_order_ends_with_0_and_a_line_for_each_invariant(shell: Shell) -> None:
    code, out, err = shell("verify-store")
    assert (code, err) == (0, "")
    assert [line[:2] for line in out.splitlines()] == [f"I{number}" for number in range(1, 8)]
    assert all(line.endswith(": yes") for line in out.splitlines())
    code, out, _ = shell("verify-store", "shop.orders", "--sample", "2", "--json")
    assert (code, json.loads(out)) == (0, {"found": [], "left": [], "remarks": []})


def test_what_is_wrong_is_listed_and_ends_with_1_until_it_is_repaired(shell: Shell) -> None:
    shell.forge(STUB)
    code, out, _ = shell("verify-store")
    assert code == 1
    assert out.splitlines()[1].split(maxsplit=2)[:2] == ["I3", "shop.orders"]
    assert "Product '7'" in out.splitlines()[1]
    assert "I3 the knowledge is what the records say: violated 1 ×" in out
    code, out, _ = shell("verify-store", "--json")
    (found,) = json.loads(out)["found"]
    assert (code, found["object"]) == (1, "Product '7'")
    code, out, _ = shell("verify-store", "--repair")
    assert (code, out.splitlines()[-1]) == (0, "All of it is repaired.")
    assert shell("verify-store", "--repair")[0] == 0


def test_what_only_the_source_can_bring_back_is_told(shell: Shell) -> None:
    shell.forge("UPDATE crm__people SET name = 'mallory' WHERE _key = (SELECT min(_key) FROM "
                "crm__people)")  # fmt: skip
    code, out, _ = shell("verify-store", "--repair", "--json")
    (remark,) = json.loads(out)["remarks"]
    assert code == 0
    assert "tidegate run crm.people --full" in remark


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crm.person"], "'crm.person' is not a stream of this store. Did you mean 'crm.people'?"),
        (["crm.people", "--sample", "0"], "'0' is not a number of records. Write 1 or more"),
    ],
)
def test_wrong_usage_ends_with_2(shell: Shell, arguments: list[str], message: str) -> None:
    try:
        code, _, err = shell("verify-store", *arguments)
    except SystemExit as stop:
        code, err = int(stop.code or 0), shell.capture.readouterr().err
    assert code == 2
    assert message in err


RUN = """
import json
from airflow.sdk.execution_time.context import set_current_context
from tidegate.on_airflow import verification

dag = verification.dag()
verify = dag.task_dict["verify"].python_callable
said = []
for repair, sample in ((False, 1), (False, None), (True, None), (False, None)):
    with set_current_context({"params": {"repair": repair, "sample": sample}}):
        try:
            said.append(verify())
        except Exception as error:
            said.append([type(error).__name__, str(error)])
print(json.dumps({"schedule": str(dag.schedule), "params": sorted(dag.params), "said": said}))
"""


def test_the_dag_fails_with_the_list_and_repairs_when_asked_to(shell: Shell) -> None:
    shell.forge(STUB)
    environment = {
        **os.environ, "PYTHONPATH": str(INCLUDE), "TIDEGATE_PIPELINES": str(shell.folder),
        "AIRFLOW_HOME": str(shell.folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (said["schedule"], said["params"]) == ("41 4 * * *", ["repair", "sample"])
    _, (error, text), repaired, after = said["said"]
    assert error == "DataError"
    assert "violations: 1\nI3 shop.orders: Product '7' is a stub" in text
    assert repaired == {"I1": 0, "I2": 0, "I3": 1, "I4": 0, "I5": 0, "I6": 0, "I7": 0}
    assert set(after.values()) == {0}

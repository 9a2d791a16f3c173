"""The two cases as files: right by themselves and beside others, and switched on as told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.pipeline.reader import read_all

INCLUDE = Path(__file__).parents[2] / "include"
CASES = ("ecommerce", "social")


def test_the_folder_of_the_cases_has_both_and_the_words_of_all() -> None:
    files = read_all(INCLUDE / "cases")
    assert {file.name for file in files} == set(CASES)
    assert not [problem for file in files for problem in file.broken.values()]
    words = INCLUDE / "cases" / "vocabulary.yaml"
    assert words.resolve() == (INCLUDE / "pipelines" / "vocabulary.yaml").resolve()


def test_a_case_may_be_copied_beside_the_shop(tmp_path: Path) -> None:
    for file in INCLUDE.glob("*/*.yaml"):
        shutil.copy(file, tmp_path)
    files = read_all(tmp_path)
    assert {file.name for file in files} == {*CASES, "shop"}
    assert not [problem for file in files for problem in file.broken.values()]


@pytest.mark.parametrize("case", CASES)
def test_every_stream_says_what_its_rows_mean(case: str) -> None:
    (file,) = (file for file in read_all(INCLUDE / "cases") if file.name == case)
    for stream in file.streams.values():
        assert stream.description
        assert stream.expect
        assert stream.load.entities


@pytest.mark.parametrize(("module", "case"), [("commerce", "ecommerce"), ("community", "social")])
def test_a_generator_without_its_connection_says_how_to_name_it(module: str, case: str) -> None:
    known = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    done = subprocess.run(
        [sys.executable, "-m", f"demo.{module}", case],
        env=known | {"PYTHONPATH": str(INCLUDE)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"AIRFLOW_CONN_{case.upper()}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_generator_ends_quietly_when_it_is_told_to(number: signal.Signals) -> None:
    program = (
        "import os, types\n"
        "from demo import traffic\n"
        "end = lambda: os.kill(os.getpid(), " + str(int(number)) + ")\n"
        "world = types.SimpleNamespace(open=lambda: None, step=end, finish=lambda: None)\n"
        "traffic.main(lambda endpoint, seed: world, None, ['x'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(INCLUDE), "AIRFLOW_CONN_X": "mysql://u@h/d"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")

"""What scripts/bootstrap and scripts/services do on a machine that lacks things.

The commands they would run are stand-ins that write down how they were called.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "cat", "cut", "dirname", "basename", "env", "ls", "sha256sum", "tr", "rm", "chmod")


class Machine:
    """A machine on whose PATH there is only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.project = folder / "project"
        self.bin.mkdir()
        (self.project / "scripts").mkdir(parents=True)
        for file in ("requirements.lock", "scripts/bootstrap", "scripts/services"):
            shutil.copy(ROOT / file, self.project / file)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))

    def has(self, name: str, body: str = "") -> None:
        """Put a command there; it writes its name and words into *calls*."""
        command = self.bin / name
        command.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{body}\n')
        command.chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.project / "scripts" / script)],
            env={"PATH": str(self.bin), "HOME": str(self.project)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def called(self, beginning: str) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if line.startswith(beginning)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.has("id", "echo 0")
    return machine


NO_ENSUREPIP = 'case "$*" in *ensurepip*) exit 1 ;; *"-m venv"*) exit 9 ;; esac'


def test_without_any_python_it_says_which_is_needed(machine: Machine) -> None:
    done = machine.run("bootstrap")
    assert done.returncode == 1
    assert "No Python 3.11 or later found" in done.stderr


def test_root_gets_the_missing_part_of_debians_python_installed(machine: Machine) -> None:
    machine.has("python3.12", NO_ENSUREPIP)
    machine.has("apt-get")
    assert machine.run("bootstrap").returncode == 9  # the stand-in for python -m venv
    assert machine.called("apt-get") == [
        "apt-get -qq update",
        "apt-get -qq install -y --no-install-recommends python3.12-venv",
    ]
    assert machine.called("python3.12 -m venv .venv")


def test_others_get_the_command_to_type_and_nothing_is_installed(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("sudo", "exit 1")
    machine.has("python3.12", NO_ENSUREPIP)
    machine.has("apt-get")
    done = machine.run("bootstrap")
    assert done.returncode == 1
    assert "Type: sudo apt-get install -y python3.12-venv " in done.stderr
    assert machine.called("apt-get") == []


def test_an_environment_made_from_the_same_lock_in_the_same_place_is_left_alone(
    machine: Machine,
) -> None:
    lock = machine.project / "requirements.lock"
    script = machine.project / "scripts" / "bootstrap"
    digest = subprocess.run(
        f"cat {lock} {script} | sha256sum | cut -d' ' -f1",
        shell=True, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    (machine.project / ".venv").mkdir()
    stamp = machine.project / ".venv" / ".tidegate-run"
    stamp.write_text(f"{digest} {machine.project}\n")
    assert machine.run("bootstrap").returncode == 0
    assert machine.called("python") == []
    lock.write_text(lock.read_text() + "\n# changed\n")
    assert machine.run("bootstrap").returncode == 1


def test_missing_servers_are_installed_by_root_and_named_to_others(machine: Machine) -> None:
    machine.has("apt-get")
    machine.has("postgres")
    if Path("/usr/sbin/mariadbd").exists():
        script = machine.project / "scripts" / "services"
        script.write_text(script.read_text().replace("/usr/sbin/mariadbd", "/nowhere/mariadbd"))
    assert machine.run("services").returncode == 0
    assert machine.called("apt-get -qq install") == [
        "apt-get -qq install -y --no-install-recommends mariadb-server"
    ]
    machine.has("id", "echo 1000")
    machine.has("sudo", "exit 1")
    done = machine.run("services")
    assert done.returncode == 1
    assert "Type: sudo apt-get install -y mariadb-server" in done.stderr


def test_servers_that_are_there_are_left_alone(machine: Machine) -> None:
    for name in ("postgres", "mariadbd", "apt-get"):
        machine.has(name)
    assert machine.run("services").returncode == 0
    assert machine.called("apt-get") == []

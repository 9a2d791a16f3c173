"""What a new user types."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_bare_make_lists_every_target_with_a_line_of_help() -> None:
    declared = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = dict(re.findall(r"^  make (\w+) +(\S.+)$", shown.stdout, re.MULTILINE))
    assert set(listed) == set(declared[1].split())
    assert {"demo", "test", "check", "services", "bench", "clean"} <= set(listed)


@pytest.mark.parametrize(("ci", "begins"), [("true", "TIDEGATE_REQUIRE=mariadb,"), ("", ".venv")])
def test_servers_are_required_where_ci_says_so_and_nowhere_else(ci: str, begins: str) -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "test", f"CI={ci}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    command = shown.stdout.splitlines()[-1].strip()
    required, python, words = command.partition(".venv/bin/python")
    assert command.startswith(begins)
    assert python and words.startswith(" -m pytest -n ")
    assert [name for name in re.findall(r"\w+", required) if name.islower()] == (
        ["mariadb", "postgres", "mongodb", "s3", "kafka", "rabbitmq", "redis"] if ci else []
    )


@pytest.mark.parametrize("name", ["bootstrap", "lock", "services"])
def test_scripts_are_executable_and_plain_sh(name: str) -> None:
    script = ROOT / "scripts" / name
    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "scripts/uv.lock"])
def test_locks_pin_every_package_with_hashes_and_name_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert packages
    for package in packages:
        assert re.match(r"[a-z0-9.-]+(\[[a-z,-]+\])?==\S+", package), package
        assert "--hash=sha256:" in package, package
    assert not re.search(r"index-url|find-links|https?://|file://", text)


def test_the_lock_holds_what_the_requirements_ask_for() -> None:
    wanted = (ROOT / "requirements.txt").read_text()
    lock = (ROOT / "requirements.lock").read_text()
    dev_lock = (ROOT / "requirements-dev.lock").read_text()
    asked, got, for_tests = (pinned(text) for text in (wanted, lock, dev_lock))
    assert len(asked) > 10
    assert asked.items() <= got.items() <= for_tests.items()


def pinned(text: str) -> dict[str, str]:
    """Package → version."""
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?==(\S+)", text, re.MULTILINE))

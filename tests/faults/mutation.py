"""Switch each safeguard off and see the tests turn red: ``python -m faults.mutation``.

A *test build* is a copy of ``include/`` with some lines replaced. The tests that a mutant names
must pass with a plain copy, and every one of them must fail with the mutant's, by an assertion: an
import that breaks proves nothing. The table of what happened is written as Markdown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import services
from faults.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "mutants.md"
SECONDS = 1800
ASSERTED = ("AssertionError", "assert ", "Failed: ", "ExceptionGroup: ")
"""How a failure begins that a test's own judgement made."""


class StaleMutantError(Exception):
    """A mutant does not fit the code any more: the text it replaces is not there exactly once."""


@dataclass(frozen=True)
class Verdict:
    """What the tests named by a mutant did; *why* names those that did otherwise than asked."""

    caught: bool
    tests: int
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """One test of a child run: ``passed``, ``failed`` (by assertion), ``broken``, ``skipped``."""

    test: str
    state: str
    message: str = ""


def patched(mutant: Mutant) -> dict[str, str]:
    """The files that *mutant* changes, and their text then; raises StaleMutantError."""
    texts: dict[str, str] = {}
    for patch in mutant.patches:
        file = ROOT / "include" / "tidegate" / patch.file
        if patch.file not in texts:
            texts[patch.file] = file.read_text(encoding="utf-8") if file.exists() else ""
        if (times := texts[patch.file].count(patch.old)) != 1:
            raise StaleMutantError(
                f"{mutant.name}: {patch.file} holds this {times} times, not once:\n{patch.old}\n"
                "Write the mutant anew in tests/faults/mutants.py."
            )
        texts[patch.file] = texts[patch.file].replace(patch.old, patch.new)
    return texts


def build(folder: Path, mutant: Mutant | None = None) -> Path:
    """A copy of ``include/`` in *folder*, with the mutant's lines in place; its path."""
    copy = folder / "include"
    shutil.copytree(ROOT / "include", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in (patched(mutant) if mutant else {}).items():
        (copy / "tidegate" / file).write_text(text, encoding="utf-8")
    return copy


def run(include: Path, tests: Sequence[str], folder: Path) -> list[Outcome]:
    """What *tests* say of the build *include*, in a process of its own."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
        f"--junitxml={report}", f"--basetemp={folder / 'temp'}",
        "-o", f"pythonpath={include} tests", *tests,
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(include), "PYTHONDONTWRITEBYTECODE": "1",
        "TIDEGATE_TURN": "",
    }  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return [Outcome("pytest", "broken", f"no end within {SECONDS} s")]
    if not report.exists():
        return [Outcome("pytest", "broken", done.stdout[-2000:] + done.stderr[-2000:])]
    return [_outcome(case) for case in ET.parse(report).getroot().iter("testcase")]  # noqa: S314


def _outcome(case: ET.Element) -> Outcome:
    name = f"{str(case.get('classname')).replace('.', '/')}.py::{case.get('name')}"
    for what in case:
        message = str(what.get("message") or "")
        if what.tag == "failure":
            return Outcome(name, "failed" if message.startswith(ASSERTED) else "broken", message)
        if what.tag in {"error", "skipped"}:
            return Outcome(name, "broken" if what.tag == "error" else "skipped", message)
    return Outcome(name, "passed")


def judge(mutant: Mutant) -> Verdict:
    """Run the mutant's tests on its build: caught when every one of them fails by assertion."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tidegate-mutant-") as place:
        folder = Path(place)
        folder.chmod(0o755)  # database servers of other users read below it
        outcomes = run(build(folder, mutant), mutant.tests, folder)
    odd = [
        outcome
        for outcome in outcomes
        if outcome.state != "failed" or mutant.because not in outcome.message
    ]
    why = "; ".join(f"{one.test}: {one.state} {one.message[:300]}".strip() for one in odd)
    took = time.monotonic() - begun
    return Verdict(bool(outcomes) and not odd, len(outcomes), took, why)


def healthy(mutants: Iterable[Mutant]) -> list[Outcome]:
    """What does not pass on a plain copy, at the second try, of all tests that *mutants* name."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with tempfile.TemporaryDirectory(prefix="tidegate-mutant-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        include = build(folder)
        first = run(include, tests, folder)
        again = [outcome.test for outcome in first if outcome.state != "passed"]
        second = run(include, again, folder) if again else []
    return [one for one in second if one.state != "passed"] if first else [
        Outcome("pytest", "broken", "no test was found")
    ]  # fmt: skip


def share_servers() -> list[services.Server]:
    """Start the servers once, for all child runs; names them in the environment."""
    started = []
    for name in ("mariadb", "postgres"):
        server = services.start(name)
        os.environ[f"TIDEGATE_TEST_{name.upper()}"] = server.uri(server.admin)
        started.append(server)
    return started


def table(verdicts: dict[str, Verdict]) -> str:
    """The report: a row for each mutant."""
    lines = [
        "| Without | Mutant | Tests that turn red | Seconds | |",
        "|---|---|---:|---:|---|",
    ]
    for mutant in MUTANTS:
        if verdict := verdicts.get(mutant.name):
            state = "red" if verdict.caught else f"**SURVIVES**: {verdict.why.replace('|', '/')}"
            lines.append(
                f"| {mutant.without} | `{mutant.name}` | {verdict.tests} | "
                f"{verdict.seconds:.0f} | {' '.join(state.split())} |"
            )
    return "\n".join(lines)


def write(text: str, caught: int, count: int) -> None:
    """The page of the documentation, written anew."""
    REPORT.write_text(
        "# Mutants\n\n"
        "Each safeguard of the protocol can be switched off in a test build, and the tests must\n"
        "then turn red; else they would not notice its loss. `make mutants` does so and writes\n"
        "this page; `tests/faults/mutants.py` has the lines that are replaced and the tests that\n"
        "must fail, each by an assertion. The same tests pass on an unchanged copy.\n\n"
        f"**{caught} of {count} mutants are caught.**\n\n{text}\n",
        encoding="utf-8",
    )


def main(arguments: list[str] | None = None) -> int:
    """All mutants, or those named; exit code 1 when one survives."""
    parser = argparse.ArgumentParser(prog="python -m faults.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these mutants; the page stays as it is")
    parser.add_argument("--list", action="store_true", help="name them, run nothing")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{mutant.name:32} {mutant.without}" for mutant in MUTANTS))
        return 0
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    servers = share_servers()
    try:
        if sick := healthy(chosen):
            print("These must pass on a plain copy first:", *sick, sep="\n  ")
            return 1
        verdicts = {}
        for mutant in chosen:
            verdicts[mutant.name] = verdict = judge(mutant)
            print(f"{'red' if verdict.caught else 'SURVIVES':9} {verdict.seconds:5.1f} s  "
                  f"{mutant.name}  {verdict.why}", flush=True)  # fmt: skip
    finally:
        for server in servers:
            server.close()
    text = table(verdicts)
    caught = sum(verdict.caught for verdict in verdicts.values())
    print(f"\n{text}\n\n{caught} of {len(chosen)} caught")
    if not options.names:
        write(text, caught, len(chosen))
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())

"""docs/faults.md, made of the outcomes."""

from __future__ import annotations

import platform
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import median

import psycopg
import pymysql

from faults.campaign import COUNTS, FAULTS, Outcome

ROOT = Path(__file__).resolve().parents[2]
HEAD = """\
# The fault campaign

What happens to Tidegate when its process is killed or stopped, when its databases die, when the
network lies, when disks fill up and clocks jump, while applications go on changing the source.
Written by `make faults`; do not edit.

A **trial** is a private source (MariaDB or PostgreSQL) that two applications change all the time –
one commits late, or rolls back – and a private store. One fault strikes; then runs come as a
scheduler sends them: the same one again, or the next. The applications stop, at most two more runs
follow, and a checker that shares no code with Tidegate compares source and store with bare
drivers.

| column | counts |
|---|---|
| lost | rows whose newest version the store lacks, as record or in quarantine |
| doubled | versions that reigned twice, rows that live twice |
| stale | versions that reigned after a newer one, by the source's own revision numbers |
| back | steps back of a watermark |
| other | all else: a ledger line missing or not adding up, a version that never was, an entity unlike its row, a run that ended as none should, no recovery in a minute |
| ≤ | upper bound, 95 %, of the share of trials that fail: 3/n when none did |
| recovery | median and longest seconds from the fault to the next run that ended well |

"""  # noqa: E501


def written(outcomes: list[Outcome]) -> str:
    """The whole text."""
    order = {fault.code: number for number, fault in enumerate(FAULTS)}
    known = sorted(
        (one for one in outcomes if one.fault in order),
        key=lambda one: (order[one.fault], one.store, one.source),
    )
    lines = [
        HEAD,
        "| fault | store | trials | lost | doubled | stale | back | other | ≤ | recovery |",
    ]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    titles = {fault.code: fault.title for fault in FAULTS}
    for (code, store), some in groupby(known, key=lambda one: (one.fault, one.store)):
        lines.append(_row(f"{code}: {titles[code]}", store, list(some)))
    lines += ["", *_variants(known), "", *_circumstances(known), "", _NOT_TRIED.rstrip()]
    return "\n".join(lines) + "\n"


def _row(title: str, store: str, some: list[Outcome]) -> str:
    counted = [one for one in some if one.struck or not one.clean]
    failed = sum(not one.clean for one in counted)
    sums = [sum(getattr(one, name) for one in some)
            for name in COUNTS]  # fmt: skip
    sums.append(sum(len(one.other) for one in some))
    bound = f"{3 / len(counted):.1%}" if counted and not failed else f"{failed} failed"
    seconds = sorted(one.recovered for one in counted if one.struck) or [0.0]
    cells = [title, store, len(counted), *sums, bound, f"{median(seconds):.1f} / {seconds[-1]:.1f}"]
    return f"| {' | '.join(map(str, cells))} |"


def _variants(known: Iterable[Outcome]) -> list[str]:
    """How often each point, side or step was met."""
    lines = ["## Where the faults struck", ""]
    for code, some in groupby(known, key=lambda one: one.fault):
        counts = Counter(one.variant.replace(":{}", "") for one in some if one.struck)
        text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        lines.append(f"- **{code}** {text}")
    return lines


def _circumstances(known: list[Outcome]) -> list[str]:
    idle = sum(not one.struck and one.clean for one in known)
    commits = ", ".join(sorted({one.commit for one in known if one.commit}))
    return [
        "## What was run",
        "",
        (
            f"- {len(known)} trials; in {idle} of them the run was over before the fault came: "
            "they were checked too, and are not counted above. "
            f"{sum(one.seconds for one in known) / 60:.0f} minutes of trials, several at once."
        ),
        f"- Tidegate at {commits or 'an unknown commit'}; {datetime.now(UTC):%Y-%m-%d}.",
        f"- {_versions()}.",
        (
            "- To run it: `make faults`; a part of it: "
            '`make faults ARGS="--fault F3 --trials 20"`; `ARGS="--scale 0.1"` for a tenth. '
            "A failing trial prints the command that repeats it by its seed. "
            "A short sample is part of `make test`."
        ),
    ]


_NOT_TRIED = """\
## What is not tried here

- A machine that loses power: databases are killed, the operating system is not.
- A PostgreSQL store on a full disk, and the clock of a PostgreSQL source or of the machine itself.
- Packets that are lost or doubled below TCP.
- Faults of Airflow's own processes: those have a [campaign of their own](faults_airflow.md).
- "Recovery" includes the lease of a run that is not tried again: 4 s here, or twice the
  longest run where the machine is slow; 120 s as delivered.
"""


def _versions() -> str:
    texts = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}",
             f"PyMySQL {pymysql.__version__}", f"psycopg {psycopg.__version__}",
             platform.system()]  # fmt: skip
    for command in (["/usr/sbin/mariadbd", "--version"], *_postgres()):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        texts.append(" ".join(done.stdout.split())[:60])
    return ", ".join(texts)


def _postgres() -> list[list[str]]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return [[str(found[-1]), "--version"]] if found else []


def commit() -> str:
    """The product's commit, and whether it was changed since."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--abbrev=9"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()

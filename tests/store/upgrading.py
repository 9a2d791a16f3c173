"""Opening an old store in another process, and all that is in one: for the tests of upgrades."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import services
from tidegate.connections import Endpoint
from tidegate.store import tables

_OPEN = """
import os, signal, sys
import sqlalchemy as sa
from tidegate.connections import parse
from tidegate.store import open_store

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def before(connection, cursor, statement, *rest):
    if " ".join(statement.split()).replace('"', "").startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

open_store(parse("tidegate_store", sys.argv[1]))
"""


def opening(
    server: services.Server, endpoint: Endpoint, dies_at: str = "no such statement"
) -> subprocess.Popen[str]:
    """A process that opens the store; it ends by SIGKILL when it is about to run *dies_at*."""
    include = str(Path(tables.__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", _OPEN, server.uri(endpoint), dies_at],
        env={"PYTHONPATH": include, "PATH": "", "TIDEGATE_STORE_UPGRADE": "auto"},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def opened(process: subprocess.Popen[str]) -> int:
    """The exit code of such a process; what it says when it fails of itself, fails the test."""
    _, errors = process.communicate(timeout=120)
    assert not errors or process.returncode == 0, errors
    return process.returncode


def contents(server: services.Server, endpoint: Endpoint) -> dict[str, Any]:
    """Every table with its columns and rows."""
    with server.engine(endpoint).connect() as connection:
        inspector = sa.inspect(connection)
        return {
            table: (
                [column["name"] for column in inspector.get_columns(table)],
                sorted(
                    map(repr, map(tuple, connection.exec_driver_sql(f'SELECT * FROM "{table}"')))
                ),
            )
            for table in inspector.get_table_names()
        }

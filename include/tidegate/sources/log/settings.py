"""What a MySQL or MariaDB server must be told before a table's log can be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.sources import Finding

_NEEDED = {
    "log_bin": ("ON", "1"), "binlog_format": ("ROW",), "binlog_row_image": ("FULL",),
    "binlog_row_metadata": ("FULL",), "log_bin_compress": ("OFF", "0"),
    "binlog_transaction_compression": ("OFF", "0"), "binlog_row_value_options": ("",),
}  # fmt: skip
"""Settings, and what they must be where there are such settings."""
_START = ("log_bin", "binlog_format")
_CASCADE = re.compile(
    r"^\s*CONSTRAINT\s+(\S+)\s+FOREIGN KEY\b.*\b(ON (?:DELETE|UPDATE) (?:CASCADE|SET \w+))",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A server, and a table of it.

    run     runs a statement
    table   its name, quoted
    status  rows of SHOW BINARY LOG STATUS: none where there is no log
    """

    run: Callable[[str], list[Any]]
    mariadb: bool
    schema: str
    table: str
    status: Sequence[Any]

    def replicates(self) -> bool:
        """Whether the server is a replica."""
        if not self.mariadb:
            return bool(self.run("SHOW REPLICA STATUS"))
        return any(int(count) for _, count in self.run("SHOW STATUS LIKE 'Slaves_running'"))


def findings(server: Asked, name: str) -> Iterator[Finding]:
    """What keeps the table's log from being read, or may."""
    values = dict(server.run("SHOW GLOBAL VARIABLES"))
    yield from _judged(values, name)
    if server.replicates():
        yield from _replicating(values, name)
    for status in server.status:
        yield from _filtered(status, server.schema, name)
    yield from _cascading(server.run(f"SHOW CREATE TABLE {server.table}")[0][1], name)


def _judged(values: Mapping[str, str], name: str) -> Iterator[Finding]:
    """What the server's variables say."""
    for setting, right in _NEEDED.items():
        value = values.get(setting)
        if value is not None and value.upper() not in right:
            how = f"SET GLOBAL {setting} = {right[0] or repr('')};"
            if setting in _START:
                how = f"{setting} = {right[0]} in the server's configuration, and a restart."
            what = f"{name}: the server's {setting} is {value or '(empty)'}."
            yield _wrong(what, f"It has to be: {how}")
    if "binlog_row_metadata" not in values:
        what = f"{name}: the server does not write column names to its binary log."
        todo = "That takes MySQL 8.0.1 or MariaDB 10.5. Read the table with table: instead."
        yield _wrong(what, todo)
    kept = float(values.get("binlog_expire_logs_seconds") or 0)
    if 0 < kept < 86_400:
        what = f"{name}: the server forgets its binary log after {kept:,.0f} seconds."
        todo = "Runs that come later have to begin anew. Let it keep some days."
        yield Finding("warning", what, "log-retention", todo)


def _replicating(values: Mapping[str, str], name: str) -> Iterator[Finding]:
    """What they say of a server that is a replica."""
    for setting in ("log_replica_updates", "log_slave_updates"):
        if values.get(setting, "ON").upper() in {"OFF", "0"}:
            what = f"{name}: the server is a replica, and its {setting} is OFF."
            todo = "Its log lacks what it replicates: turn that on, or connect to the primary."
            yield _wrong(what, todo)
            return


def _filtered(status: Sequence[Any], schema: str, name: str) -> Iterator[Finding]:
    """What *status*, the row of SHOW BINARY LOG STATUS, says of the databases in the log."""
    for setting, text, wanted in (
        ("binlog_do_db", status[2], True),
        ("binlog_ignore_db", status[3], False),
    ):
        listed = {one.strip().lower() for one in str(text or "").split(",") if one.strip()}
        if listed and (schema.lower() in listed) is not wanted:
            what = f"{name}: the binary log leaves {schema!r} out: {setting} is {text}."
            yield _wrong(what, "Change that in the server's configuration, and restart it.")


def _cascading(create: str, name: str) -> Iterator[Finding]:
    """What *create*, the table's definition, says of rows that its foreign keys change."""
    for key, action in _CASCADE.findall(create):
        what = f"{name}: foreign key {key} says {action}: such changes are in no binary log."
        todo = (
            "Let the application change the rows itself (RESTRICT), or read the table with table: "
            "and verification."
        )
        yield _wrong(what, todo)


def _wrong(what: str, todo: str) -> Finding:
    return Finding("error", what, "log-setting", todo)

"""How each tool is called: a command line for a scenario, in a place of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from compare import peers
from tidegate.connections import Endpoint

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parents[1] / "include"
FIRST, FEW, MANY, NONE = SCENARIOS = ("first load", "10k changed", "100k changed", "no change")
CHANGED = {FEW: 10_000, MANY: 100_000}
LOW = (
    'psql "$TARGET" -AtXqc "SELECT to_char(max(updated_at), '
    '\'YYYY-MM-DD\\"T\\"HH24:MI:SS.US\') FROM orders"'
)


@dataclass(frozen=True)
class Place:
    """Where a tool works: its source, its target, and a folder that is its own for a round."""

    shop: Endpoint
    target: Endpoint
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the commands below ask for, and nothing else of ours."""
        return {
            "PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), "TZ": "UTC",
            "LANG": "C.UTF-8", "TMPDIR": tempfile.gettempdir(),
            "INGESTR_DISABLE_TELEMETRY": "true", "SLING_DISABLE_TELEMETRY": "true",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "SOURCE": uri("mysql", self.shop), "TARGET": uri("postgresql", self.target),
            "SHOP": self.shop.database or "",
        }  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A command line and its environment."""

    command: list[str]
    environment: dict[str, str]


def tidegate(scenario: str, place: Place, *, layers: bool = False, warm: bool = False) -> Call:
    """Through its command line, as a person or cron would; *warm*: a process that stays."""
    folder = place.folder / "pipelines"
    folder.mkdir(exist_ok=True)
    text = (HERE / "pipeline.yaml").read_text("utf-8")
    mapping = (HERE / "mapping.yaml").read_text("utf-8") if layers else ""
    file = folder / "shop.yaml"
    file.write_text(text + mapping, "utf-8")
    command = ["-m", "tidegate.cli", "--pipelines", str(folder), "run", "shop.orders"]
    environment = {
        "AIRFLOW_CONN_SHOP": uri("mysql", place.shop), "PYTHONPATH": str(INCLUDE),
        "AIRFLOW_CONN_TIDEGATE_STORE": uri("postgres", place.target),
        "TIDEGATE_HOME": str(place.folder),
    }  # fmt: skip
    if warm:
        command = [str(HERE / "warm.py"), str(file)]
    return Call([sys.executable, *command], place.environment | environment)


def dlt(scenario: str, place: Place, *, backend: str) -> Call:
    """A script of a dozen lines, as its documentation has it."""
    script = str(HERE / "run_dlt.py")
    command = [peers.program("dlt"), script, backend, str(place.folder)]
    return Call(command, place.environment)


def ingestr(scenario: str, place: Place) -> Call:
    """It keeps no watermark: the caller asks the target for it, and the time for that counts."""
    line = (
        f"exec {peers.program('ingestr')} ingest --yes --progress log "
        '--source-uri "$SOURCE" --source-table "$SHOP.orders" '
        '--dest-uri "$TARGET?sslmode=disable" --dest-table public.orders '
        "--incremental-strategy merge --incremental-key updated_at --primary-key id"
    )
    if scenario != FIRST:
        line = f'low=$({LOW}) && {line} --interval-start "$low"'
    return bash(line, place)


def sling(scenario: str, place: Place) -> Call:
    """Its incremental mode: above the largest ``updated_at`` of the target."""
    line = (
        'export TO_DB="$TARGET?sslmode=disable"; '
        f"exec {peers.program('sling')} run --src-conn SOURCE "
        '--src-stream "$SHOP.orders" --tgt-conn TO_DB --tgt-object public.orders '
        "--mode incremental --primary-key id --update-key updated_at"
    )
    return bash(line, place)


def copy(scenario: str, place: Place) -> Call | None:
    """Nothing between the two clients; only a first load is possible."""
    return bash(f"{_dump(place)} | {_psql('orders')}", place) if scenario == FIRST else None


def upsert(scenario: str, place: Place) -> Call:
    """COPY into a temporary table, then one statement."""
    names = ("customer_id", "sku", "quantity", "amount", "status", "note", "created_at")
    sets = ", ".join(f"{name} = excluded.{name}" for name in (*names, "updated_at"))
    load = _psql(
        "staged", "CREATE TEMPORARY TABLE staged (LIKE orders)",
        f"INSERT INTO orders SELECT * FROM staged ON CONFLICT (id) DO UPDATE SET {sets}",
    )  # fmt: skip
    low = f"low=$({LOW}); " if scenario != FIRST else ""
    return bash(f"{low}{_dump(place)} | {load}", place)


def bash(line: str, place: Place) -> Call:
    """A pipe that fails when one of its ends does."""
    return Call(["bash", "-o", "pipefail", "-ec", line], place.environment)


def uri(scheme: str, endpoint: Endpoint) -> str:
    """With the password, as every tool reads it."""
    user, password = (quote(word or "", safe="") for word in (endpoint.user, endpoint.password))
    return f"{scheme}://{user}:{password}@{endpoint.host}:{endpoint.port}/{endpoint.database}"


def as_bench(endpoint: Endpoint) -> Endpoint:
    """The same database as a user whose password every tool can spell."""
    return replace(endpoint, user="bench", password="bench")


def _dump(place: Place) -> str:
    shop = place.shop
    return (
        f"MYSQL_PWD='{shop.password}' mariadb --no-defaults -h {shop.host} -P {shop.port} "
        f"-u {shop.user} -BqN --default-character-set=utf8mb4 {shop.database} "
        "-e \"SELECT * FROM orders${low:+ WHERE updated_at > '$low'}\""
    )


def _psql(table: str, before: str = "", after: str = "") -> str:
    commands = [before, f"COPY {table} FROM STDIN (NULL 'NULL')", after]
    said = " ".join(f'-c "{text}"' for text in commands if text)
    return f'psql "$TARGET" -Xq1 -v ON_ERROR_STOP=1 {said}'

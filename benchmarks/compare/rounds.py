"""The course of the measurement: rounds of scenarios, in each of them every tool once, in turn."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import services
from compare import calls, costs, orders
from compare.calls import CHANGED, SCENARIOS, Call, Place
from compare.costs import Cost
from compare.orders import Sums
from compare.tools import Tool
from services import Server
from tidegate.connections import Endpoint

FLAGS = {
    "mariadb": ["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M"],
    "postgres": [
        "-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB", "-c", "timezone=UTC",
    ],
}  # fmt: skip
SETTLED = 2.0
"""Seconds from a change of the source to the first run that should see it."""


@dataclass(frozen=True)
class Run:
    """One tool in one scenario of one round.

    differs  how the copy is not what the source says, in words
    steps    seconds of each step, where the tool says them itself
    """

    tool: str
    scenario: str
    round: int
    cost: Cost
    differs: tuple[str, ...] = ()
    steps: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """As the file of results has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Run:
        """The same, read again."""
        return cls(**{**item, "cost": Cost(**item["cost"]), "differs": tuple(item["differs"])})


class Bench:
    """Two servers and a table; *tell* is told of each run."""

    def __init__(self, rows: int, tell: Callable[[str], None]) -> None:
        self._rows, self._tell = rows, tell
        self._sums: dict[bool, Sums] = {}
        self._source = services.start("mariadb", private=True, flags=FLAGS["mariadb"])
        self._target = services.start("postgres", private=True, flags=FLAGS["postgres"])
        self._source.execute(
            self._source.admin,
            "CREATE USER bench@'127.0.0.1' IDENTIFIED BY 'bench'",
            "GRANT ALL ON *.* TO bench@'127.0.0.1'",
        )
        self._target.execute(
            self._target.admin, "CREATE ROLE bench LOGIN SUPERUSER PASSWORD 'bench'"
        )
        self._shop = calls.as_bench(self._source.fresh())

    def servers(self) -> dict[str, str]:
        """Their versions."""
        answers = {
            name: _one(server, question)
            for name, server, question in (
                ("MariaDB", self._source, "SELECT VERSION()"),
                ("PostgreSQL", self._target, "SHOW server_version"),
            )
        }
        return {name: answer.split()[0].split("-")[0] for name, answer in answers.items()}

    def rounds(self, count: int, chosen: Sequence[Tool]) -> Iterator[Run]:
        """Every tool in every scenario, *count* times; who begins is another one each time."""
        for number in range(count):
            with ExitStack() as stack:
                yield from self._round(number, chosen, stack)

    def close(self) -> None:
        """Stop both servers."""
        self._source.close()
        self._target.close()

    def _round(self, number: int, chosen: Sequence[Tool], stack: ExitStack) -> Iterator[Run]:
        orders.fill(self._source, self._shop, self._rows)
        places = {tool.name: self._place(tool, stack) for tool in chosen}
        warm: dict[str, Warm] = {}
        broken: set[str] = set()
        for turn, scenario in enumerate(SCENARIOS):
            if scenario in CHANGED:
                changed, quantity = CHANGED[scenario], 2 + turn
                orders.change(self._source, self._shop, self._rows, changed, quantity)
            self._sums.clear()
            time.sleep(SETTLED)
            first = (number + turn) % len(chosen)
            for tool in [*chosen[first:], *chosen[:first]]:
                if tool.name in broken:
                    continue
                run = self._run(tool, scenario, number, places[tool.name], warm, stack)
                if run:
                    yield run
                    if run.cost.failed:
                        broken.add(tool.name)

    def _place(self, tool: Tool, stack: ExitStack) -> Place:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"tidegate-{tool.name}-"))
        target = self._target.fresh()
        stack.callback(
            self._target.execute, self._target.admin,
            f"DROP DATABASE {target.database} WITH (FORCE)",
        )  # fmt: skip
        if tool.kind == "limit":
            self._target.execute(target, orders.COPIED)
        return Place(self._shop, calls.as_bench(target), Path(name))

    def _run(
        self, tool: Tool, scenario: str, number: int, place: Place, warm: dict[str, Warm],
        stack: ExitStack,
    ) -> Run | None:  # fmt: skip
        try:
            call = tool.call(scenario, place)
        except (OSError, subprocess.CalledProcessError) as error:
            cost = Cost(0, 0, 0, {}, 0, f"it could not be installed: {error}")
            return self._told(Run(tool.name, scenario, number, cost))
        if call is None:
            return None
        steps = None
        pids = {"MariaDB": self._source.pid, "PostgreSQL": self._target.pid}
        if tool.kind == "warm":
            if tool.name not in warm:
                warm[tool.name] = stack.enter_context(closing(Warm(call, place.folder)))
            cost, steps = warm[tool.name].run(f"{number}-{scenario}", pids)
        else:
            cost = costs.run(call.command, call.environment, place.folder, pids)
        run = Run(tool.name, scenario, number, cost, steps=steps)
        if not cost.failed:
            self._target.execute(place.target, "VACUUM (ANALYZE)", "CHECKPOINT")
            run = replace(run, differs=tuple(self._differences(tool, place.target)))
        return self._told(run)

    def _differences(self, tool: Tool, target: Endpoint) -> list[str]:
        found = []
        if orders.arrived(self._target, target, tool.relation) != self._expected(tool.cleaned):
            found = orders.differences(
                self._source, self._shop, self._target, target, tool.relation, cleaned=tool.cleaned
            )
        keyed = orders.has_key(self._target, target, tool.relation)
        if keyed != ("key" in tool.does):
            found.append(f"the table says key={'key' in tool.does}, the target {keyed}")
        return found

    def _expected(self, cleaned: bool) -> Sums:
        """Asked of the source once for each of its states."""
        if cleaned not in self._sums:
            self._sums[cleaned] = orders.expected(self._source, self._shop, cleaned=cleaned)
        return self._sums[cleaned]

    def _told(self, run: Run) -> Run:
        cost = run.cost
        self._tell(
            f"round {run.round + 1}  {run.scenario:14} {run.tool:16} {cost.seconds:7.2f} s  "
            f"CPU {cost.cpu:6.2f}  {cost.mb:6.0f} MB  others {cost.others:.2f} cores  "
            f"{cost.failed or '; '.join(run.differs) or 'equal'}"
        )
        if cost.failed:  # what is kept is a line, and no place of this machine
            words = cost.failed.splitlines()[-1].replace(str(Path.home()), "~")
            return replace(run, cost=replace(cost, failed=words))
        return run


class Warm:
    """A process that stays, from one scenario to the next."""

    def __init__(self, call: Call, folder: Path) -> None:
        self._said = (folder / "said.txt").open("w+")
        self._process = subprocess.Popen(
            call.command, env=call.environment, cwd=folder, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._said,
        )  # fmt: skip

    def run(self, name: str, pids: dict[str, int]) -> tuple[Cost, dict[str, float] | None]:
        """One more run: its cost, and the seconds of each step by its own clock."""
        assert self._process.stdin
        assert self._process.stdout
        watch, memory = costs.Watch(pids), costs.Memory(self._process.pid)
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"steps": {}, "cpu": 0.0}
        _, servers, others = watch.read(answer["cpu"])
        failed = None
        if not line:
            self._said.seek(0)
            failed = self._said.read()[-costs.KEPT :].strip() or "it ended"
        steps: dict[str, float] = answer["steps"]
        cost = Cost(sum(steps.values()), answer["cpu"], memory.stop(), servers, others, failed)
        return cost, steps

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._said.close()


def _one(server: Server, question: str) -> str:
    with server.engine(server.admin).connect() as connection:
        return str(connection.exec_driver_sql(question).scalar_one())

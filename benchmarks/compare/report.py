"""From the runs to the page: medians, spread, ratios, and what was found wrong."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from compare.calls import FIRST, SCENARIOS
from compare.rounds import Run
from compare.tools import DLT, TOOLS, WORK, Tool

QUIET = 0.15
"""Cores that other work may use, on average, for figures to be quoted."""
MARKS = ("<!-- figures of make bench -->", "<!-- /figures -->")


@dataclass(frozen=True)
class Results:
    """All runs, and where they were made."""

    rows: int
    rounds: int
    date: str
    machine: str
    versions: dict[str, str]
    runs: Sequence[Run] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """As docs/benchmarks.json has it."""
        return {**vars(self), "runs": [run.to_json() for run in self.runs]}

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Results:
        """The same, read again."""
        return cls(**{**item, "runs": [Run.from_json(run) for run in item["runs"]]})

    def of(self, tool: str, scenario: str) -> list[Run]:
        """The runs that succeeded."""
        return [
            run
            for run in self.runs
            if (run.tool, run.scenario) == (tool, scenario) and not run.cost.failed
        ]

    def failed(self, tool: str) -> bool:
        """Whether it did in any run."""
        return any(run.tool == tool and run.cost.failed for run in self.runs)

    def seconds(self, tool: str, scenario: str) -> float | None:
        """The median; None when it never succeeded."""
        runs = self.of(tool, scenario)
        return statistics.median(run.cost.seconds for run in runs) if runs else None

    def best(self, scenario: str) -> float | None:
        """The faster of dlt's backends."""
        found = [self.seconds(name, scenario) for name in DLT]
        return min((seconds for seconds in found if seconds), default=None)

    @property
    def others(self) -> tuple[float, float]:
        """Cores that other work used: on average, and at most during one run."""
        cores = [run.cost.others for run in self.runs if not run.cost.failed]
        return (statistics.fmean(cores), max(cores)) if cores else (0.0, 0.0)

    @property
    def quiet(self) -> bool:
        """Whether the figures are worth quoting."""
        return self.others[0] <= QUIET


def page(results: Results) -> str:
    """docs/benchmarks.md."""
    parts = [
        _HEAD, _where(results), f"## Seconds by the clock\n\n{_RATIO}\n\n{_summary(results)}",
        "![Seconds of each tool in each scenario](images/benchmark-seconds.svg)",
        "## What each did in that time\n\n" + _work(), _ABOUT, _found(results),
        "## CPU and memory\n\n" + _COSTS,
        *(f"### {_title(results, name)}\n\n{_costs(results, name)}" for name in SCENARIOS),
        "![Most resident memory of each tool in a first load](images/benchmark-memory.svg)",
        "## Tidegate's steps in a process that stays\n\n" + _STEPS + "\n\n" + _steps(results),
        _HOW,
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def in_readme(text: str, results: Results) -> str:
    """README with new figures between the marks; figures of a busy machine are not shown there."""
    if not results.quiet:
        return text
    begin, end = MARKS
    lines = "\n".join([begin, *_lines(results), end])
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: lines, text, flags=re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all columns but the first are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _where(results: Results) -> str:
    average, most = results.others
    about = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    said = (
        f"Measured on {results.date}: {results.machine}. {about}. {results.rows:,} rows, "
        f"{results.rounds} round{'s' if results.rounds > 1 else ''}. Other work on the machine "
        f"used {average:.2f} cores on average while a tool ran, {most:.2f} at most."
    )
    if not results.quiet:
        said += (
            "\n\n> **The machine was busy: these are not figures to quote.** They show that all "
            "tools work and what is measured. Who needs most CPU loses most by it, so that the "
            "ratios are not those of a quiet machine either."
        )
    return said


def _summary(results: Results) -> str:
    rows = [
        [tool.title, *(_cell(results, tool, scenario) for scenario in SCENARIOS)]
        for tool in TOOLS
        if tool.kind != "warm"
    ]
    head = ["seconds, × dlt's best", *(_title(results, name) for name in SCENARIOS)]
    return table(head, rows)


def _title(results: Results, scenario: str) -> str:
    return f"{scenario}, {results.rows:,} rows" if scenario == FIRST else scenario


def _cell(results: Results, tool: Tool, scenario: str) -> str:
    runs = results.of(tool.name, scenario)
    if not runs:
        return "failed" if results.failed(tool.name) else "–"
    seconds = [run.cost.seconds for run in runs]
    text = f"**{statistics.median(seconds):.2f}**"
    if len(seconds) > 1:
        text += f" ({min(seconds):.2f}–{max(seconds):.2f})"
    best = results.best(scenario)
    if tool.kind != "limit" and best:
        text += f" {statistics.median(seconds) / best:.2f}×"
    return text


def _work() -> str:
    compared = [tool for tool in TOOLS if tool.kind != "warm"]
    head = ["", *(tool.title for tool in compared)]
    rows = [
        [text, *("yes" if key in tool.does else "no" for tool in compared)]
        for key, text in WORK.items()
    ]
    return table(head, rows)


def _found(results: Results) -> str:
    """What was not as in the source, and what failed: a line for each tool."""
    lines = [*_wrong(results)]
    checked = sum(not run.cost.failed for run in results.runs)
    equal = sum(not run.cost.failed and not run.differs for run in results.runs)
    said = (
        "After each run the rows of the target were counted and hashed, all cells of them, and "
        f"compared with the source's (for Tidegate: cleaned). "
        f"**{equal} of {checked} copies were equal.**"
    )
    return "\n".join(["## Are the copies right?", "", said, *([""] if lines else []), *lines])


def _wrong(results: Results) -> Iterator[str]:
    for tool in TOOLS:
        said: dict[str, str] = {}
        for run in results.runs:
            if run.tool == tool.name:
                for text in run.differs:
                    said.setdefault(text.split(":")[0], f"{run.scenario}: {text}")
                if run.cost.failed:
                    words = run.cost.failed
                    said.setdefault(words, f"{run.scenario}: failed: `{words}`")
        yield from (f"- {tool.title}: {text}" for text in said.values())


def _costs(results: Results, scenario: str) -> str:
    servers = sorted({name for run in results.runs for name in run.cost.servers})
    rows = []
    for tool in TOOLS:
        if runs := results.of(tool.name, scenario):
            costs = [run.cost for run in runs]
            numbers = [
                statistics.median(cost.cpu for cost in costs),
                *(statistics.median(cost.servers[name] for cost in costs) for name in servers),
            ]
            peak = max(cost.mb for cost in costs)
            title = f"{tool.title}, warm steps" if tool.kind == "warm" else tool.title
            rows.append([title, *(f"{number:.2f}" for number in numbers), f"{peak:.0f}"])
    return table(["", "CPU, s", *(f"{name}, CPU s" for name in servers), "most memory, MB"], rows)


def _steps(results: Results) -> str:
    names = ("pull", "clean", "validate", "load")
    rows = []
    for tool in TOOLS:
        for scenario in SCENARIOS if tool.kind == "warm" else ():
            runs = results.of(tool.name, scenario)
            steps = [run.steps or {} for run in runs]
            if steps:
                parts = [
                    statistics.median(step[name] for step in steps) if name in steps[0] else None
                    for name in names
                ]
                told = [f"{part:.2f}" if part is not None else "–" for part in parts]
                whole = statistics.median(run.cost.seconds for run in runs)
                rows.append(
                    [f"{tool.title}: {_title(results, scenario)}", *told, f"**{whole:.2f}**"]
                )
    return table(["seconds", *names, "together"], rows)


def _lines(results: Results) -> list[str]:
    """Ratios for the README."""
    about = (
        f"{results.date}, {results.machine.split(' (')[0]}, medians of {results.rounds} rounds, "
        "whole processes:"
    )
    shown = [tool for tool in TOOLS if tool.kind != "warm" and tool.name != "dlt-pyarrow"]
    rows = []
    for tool in shown:
        cells = []
        for scenario in SCENARIOS:
            seconds, best = results.seconds(tool.name, scenario), results.best(scenario)
            text = f"{seconds:.2f} s" if seconds else "–"
            if seconds and best and tool.kind in {"ours", "peer"} and tool.name not in DLT:
                text += f", {seconds / best:.2f}× dlt"
            cells.append(text)
        rows.append([tool.title, *cells])
    return [about, "", table(["", *(_title(results, name) for name in SCENARIOS)], rows)]


_HEAD = """\
# Tidegate beside its peers

Written by `python benchmarks/compare`, which measures and writes it anew; every single run is in
[benchmarks.json](benchmarks.json). One MariaDB table of nine columns is copied into PostgreSQL by
each tool: first all of it, then what changed, merged by key."""
_RATIO = """\
The median, in parentheses the least and the most, and the ratio to the faster of dlt's two backends
in that scenario: below 1 is faster than dlt."""
_ABOUT = """\
Tidegate does more in that time, so the columns are not the same work; nothing is switched off to
look better. dlt has validation by data contracts and pydantic, and history by another merge
strategy (scd2); Sling has checks in hooks; ingestr has scd2: none of these is switched on here.
dlt keeps its watermark in a table of its own, in another
transaction than the rows. Sling asks the target for its largest `updated_at` and reads what is
larger. ingestr keeps no watermark: the caller asks the target for it with psql, and the time for
that is in its seconds. The limits are the two servers' own clients, and a shell."""
_COSTS = """\
CPU is user and system time of the tool's whole process tree, then that of each server; medians.
Memory is the most that the tree held at one moment in any round; pages shared between processes
count in each of them."""
_STEPS = """\
In Airflow the steps are tasks, forked from a parent that has imported everything; so what a run
costs is the work of its steps. Here one process does all four, again and again: seconds by the
steps' own clock, without any start. A run that finds nothing new is over after its pull."""
_HOW = """\
## How it is measured

- Both servers are private and on the same machine as the tools: MariaDB with a buffer pool of
  512 MB, PostgreSQL with 512 MB of shared buffers, time zone UTC; no commit waits for the disk.
- In each round every tool gets a fresh database and a fresh folder. Within a round the tools take
  turns in each scenario, and another one begins each time. The source is made anew for each round.
- Changed rows are spread over the table, each stamped by the server with a moment of its own; the
  tools start two seconds later.
- Seconds are those of the whole process, from start to end, imports included. Before each next
  tool the target is vacuumed and checkpointed, outside of the time.
- Tidegate runs as `tidegate run shop.orders`, with `benchmarks/compare/pipeline.yaml` (and
  `mapping.yaml` for *all layers*). It runs from this repository; the peers from PyPI, each in an
  environment of its own. Versions are pinned in `benchmarks/compare/peers.py`: ingestr and Sling
  are those of the newest packages that hold the program itself; later ones fetch it from GitHub.
- dlt: `sql_database` source, merge by *upsert*, Parquet files by way of ADBC, chunks of 100,000
  rows where the backend knows them.
- CPU of other work is what `/proc/stat` counted beyond the tool and the servers; the measuring
  process itself is in it, with about 0.03 cores."""

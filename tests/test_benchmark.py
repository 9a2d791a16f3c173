"""The comparison benchmark: does it notice wrong copies, count costs, report what it was given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from defusedxml import ElementTree

import services
from services import Server
from tidegate.connections import Endpoint

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

from compare import bars, costs, orders, report  # noqa: E402
from compare.calls import FEW, FIRST, SCENARIOS, Place  # noqa: E402
from compare.costs import Cost  # noqa: E402
from compare.report import Results  # noqa: E402
from compare.rounds import Run  # noqa: E402
from compare.tools import TOOLS, Tool  # noqa: E402

sys.path.remove(str(ROOT / "benchmarks"))  # its modules are called as our packages of tests

ROWS = 300
COPY = next(tool for tool in TOOLS if tool.name == "copy")
UPSERT = next(tool for tool in TOOLS if tool.name == "upsert")
TIDEGATE = next(tool for tool in TOOLS if tool.name == "tidegate-layers")
Servers = tuple[Server, Server]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    started = services.start_or_skip("mariadb"), services.start_or_skip("postgres")
    yield started
    for server in started:
        server.close()


@pytest.fixture
def place(servers: Servers, tmp_path: Path) -> Place:
    """The source filled, the target empty."""
    source, target = servers
    shop = source.fresh()
    orders.fill(source, shop, ROWS)
    return Place(shop, target.fresh(), tmp_path)


def call(tool: Tool, scenario: str, place: Place) -> None:
    made = tool.call(scenario, place)
    assert made
    cost = costs.run(made.command, made.environment, place.folder, {})
    assert cost.failed is None


def copied(servers: Servers, place: Place, *later: str) -> list[str]:
    """What is found wrong with a copy, when *later* was done to it."""
    _, target = servers
    target.execute(place.target, orders.COPIED)
    call(COPY, FIRST, place)
    target.execute(place.target, *later)
    return found(servers, place.shop, place.target, "orders")


def found(servers: Servers, shop: Endpoint, store: Endpoint, relation: str) -> list[str]:
    source, target = servers
    cleaned = relation != "orders"
    return orders.differences(source, shop, target, store, relation, cleaned=cleaned)


@pytest.mark.service
def test_a_bare_copy_and_an_upsert_are_equal_to_the_source(servers: Servers, place: Place) -> None:
    assert copied(servers, place) == []
    orders.change(servers[0], place.shop, ROWS, 30, 7)
    assert found(servers, place.shop, place.target, "orders") != []
    call(UPSERT, FEW, place)
    assert found(servers, place.shop, place.target, "orders") == []


@pytest.mark.service
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE orders SET created_at = created_at - interval '1 microsecond' WHERE id = 7",
            "created_at ({time}): 1 rows differ; of id 7, '{day}.000007' became '{day}.000006'",
        ),
        (
            "ALTER TABLE orders ALTER updated_at TYPE timestamp(3)",
            "updated_at ({milli}): 297 rows differ; of id 1, '{day}.000010' became '{day}.000000'",
        ),
        (
            "ALTER TABLE orders ALTER amount TYPE real USING amount + 0.001",
            "amount (real): 300 rows differ; of id 1, '0.01' became '0.011'",
        ),
        (
            "UPDATE orders SET note = '' WHERE id = 3",
            "note (character varying(100)): 1 rows differ; of id 3, '<null>' became ''",
        ),
        ("DELETE FROM orders WHERE id = 9", "1 rows are missing, for example id 9"),
        ("UPDATE orders SET id = 1005 WHERE id = 5", "1 rows are missing, for example id 5"),
    ],
    ids=["microsecond", "milliseconds", "float", "null", "missing", "another key"],
)
def test_a_wrong_copy_is_told_by_its_column_and_an_example(
    servers: Servers, place: Place, statement: str, words: str
) -> None:
    kinds = {"time": "timestamp without time zone", "milli": "timestamp(3) without time zone"}
    words = words.format(day="2026-01-01 00:00:00", **kinds)
    assert copied(servers, place, statement)[0] == words


@pytest.mark.service
def test_two_rows_of_one_key_are_noticed(servers: Servers, place: Place) -> None:
    again = "INSERT INTO orders SELECT * FROM orders WHERE id = 5"
    wrong = copied(servers, place, "ALTER TABLE orders DROP CONSTRAINT orders_pkey", again)
    assert wrong == ["a key is there more than once"]
    assert not orders.has_key(servers[1], place.target, "orders")


@pytest.mark.service
def test_decimals_and_zoned_times_in_another_form_are_equal_where_the_values_are(
    servers: Servers, place: Place
) -> None:
    numbers = "ALTER amount TYPE numeric, ALTER id TYPE numeric(20), ALTER sku TYPE text"
    times = "ALTER created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC'"
    assert copied(servers, place, f"ALTER TABLE orders {numbers}, {times}") == []


@pytest.mark.service
def test_tidegate_leaves_what_cleaning_should_make_of_the_source(
    servers: Servers, place: Place
) -> None:
    call(TIDEGATE, FIRST, place)
    assert found(servers, place.shop, place.target, TIDEGATE.relation) == []
    assert orders.has_key(servers[1], place.target, TIDEGATE.relation)
    count = f"SELECT 1 / (count(*) - {ROWS - 1}) FROM entity WHERE type = 'Order'"
    servers[1].execute(place.target, count)


def bash(line: str) -> list[str]:
    return ["bash", "-o", "pipefail", "-ec", line]


def test_a_command_costs_what_all_its_processes_cost(tmp_path: Path) -> None:
    work = "import time\nheld = b'x' * 150_000_000\nwhile time.process_time() < 0.5: pass"
    (tmp_path / "work.py").write_text(work)
    cost = costs.run(
        bash(f"{sys.executable} work.py & {sys.executable} work.py; wait"),
        {**os.environ},
        tmp_path,
        {"this": os.getpid()},
    )
    assert cost.failed is None
    assert cost.cpu >= 1.0
    assert cost.mb >= 300
    assert set(cost.servers) == {"this"}


def test_a_failed_command_says_why(tmp_path: Path) -> None:
    cost = costs.run(bash("echo broken; false | true"), {**os.environ}, tmp_path, {})
    assert cost.failed == "broken"


def test_the_cpu_of_a_server_counts_children_that_ended(tmp_path: Path) -> None:
    before = costs.server_seconds(os.getpid())
    costs.run([sys.executable, "-c", "sum(range(30_000_000))"], {**os.environ}, tmp_path, {})
    assert costs.server_seconds(os.getpid()) - before > 0.1


# The report ------------------------------------------------------------------------------------


def results(others: float = 0.02) -> Results:
    """dlt in 4 s and 5 s (pyarrow: 10 s), Tidegate in 2 s, Sling not at all; one copy is wrong."""

    def run(tool: str, number: int, seconds: float, differs: tuple[str, ...] = ()) -> Run:
        cost = Cost(seconds, 1.5, 321.4, {"MariaDB": 0.5, "PostgreSQL": 0.7}, others)
        return Run(tool, FIRST, number, cost, differs)

    broken = Cost(0, 0, 0, {}, 0, "no such program")
    steps = {"pull": 0.1, "clean": 0.2, "validate": 0.3, "load": 0.4}
    warm = run("warm", 0, 1.0)
    runs = [
        run("tidegate", 0, 2.0), run("tidegate", 1, 3.0), run("tidegate", 2, 1.0),
        run("dlt", 0, 4.0), run("dlt", 1, 6.0, ("amount (real): 3 rows differ",)),
        run("dlt-pyarrow", 0, 10.0), run("copy", 0, 0.5), Run("sling", FIRST, 0, broken),
        replace(warm, steps=steps),
    ]  # fmt: skip
    return Results(1000, 3, "2026-01-02", "2 cores (quick), 8 GB, Linux", {"dlt": "1.0"}, runs)


def line(text: str, title: str) -> list[str]:
    """The cells of the first row of that title."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_report_has_medians_spread_and_the_ratio_to_the_faster_dlt() -> None:
    text = report.page(results())
    assert line(text, "Tidegate, records")[1] == "**2.00** (1.00–3.00) 0.40×"
    assert line(text, "dlt, connectorx")[1] == "**5.00** (4.00–6.00) 1.00×"
    assert line(text, "dlt, pyarrow")[1] == "**10.00** 2.00×"
    assert line(text, "limit: mariadb, COPY")[1:3] == ["**0.50**", "–"]
    cells = [
        "Tidegate, records: first load, 1,000 rows",
        "0.10",
        "0.20",
        "0.30",
        "0.40",
        "**1.00**",
    ]
    assert line(text, cells[0]) == cells
    costs_part = text.partition("## CPU and memory")[2]
    assert line(costs_part, "Tidegate, records")[1:] == ["1.50", "0.50", "0.70", "321"]


def test_the_report_drops_no_tool_silently() -> None:
    text = report.page(results())
    assert line(text, "Sling")[1:] == ["failed"] * len(SCENARIOS)
    assert "- Sling: first load: failed: `no such program`" in text
    assert "- dlt, connectorx: first load: amount (real): 3 rows differ" in text
    assert "**7 of 8 copies were equal.**" in text


def test_figures_of_a_busy_machine_are_marked_and_stay_out_of_the_readme() -> None:
    begin, end = report.MARKS
    readme = f"before\n{begin}\nold\n{end}\nafter\n"
    assert "not figures to quote" in report.page(results(0.8))
    assert report.in_readme(readme, results(0.8)) == readme
    assert "not figures to quote" not in report.page(results())
    written = report.in_readme(readme, results())
    assert written.startswith(f"before\n{begin}\n2026-01-02, 2 cores, ")
    assert line(written, "Tidegate, records")[1] == "2.00 s, 0.40× dlt"
    assert "old" not in written
    assert written.endswith(f"{end}\nafter\n")


def test_results_survive_their_file() -> None:
    assert Results.from_json(json.loads(json.dumps(results().to_json()))) == results()


def test_the_readme_has_one_place_for_the_figures() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [text.count(mark) for mark in report.MARKS] == [1, 1]


def test_make_bench_runs_it() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "bench"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "benchmarks/*.py benchmarks/compare;" in shown.stdout


def test_bars_are_as_long_as_their_numbers() -> None:
    pictures = bars.pictures(results())
    assert set(pictures) == {"benchmark-seconds", "benchmark-memory"}
    space = "{http://www.w3.org/2000/svg}"
    drawn = ElementTree.fromstring(pictures["benchmark-seconds"])
    lengths = [float(bar.get("width", 0)) for bar in drawn.findall(f"{space}rect[@rx]")]
    first = [length / lengths[2] for length in lengths[:5]]
    assert first == pytest.approx([0.2, 0.5, 1, 0, 0.05], abs=0.01)
    assert "failed" in [text.text for text in drawn.findall(f"{space}text")]

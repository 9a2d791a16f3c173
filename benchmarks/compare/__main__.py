"""Measure Tidegate beside its peers, and write docs/benchmarks.md.

``python benchmarks/compare --rows 200000 --rounds 1`` for a quick look. The report says how busy
the machine was with other work; the README gets figures only when it was not.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]
sys.path.append(str(REPOSITORY / "benchmarks"))

from compare import bars, machine, peers, report  # noqa: E402
from compare.report import Results  # noqa: E402
from compare.rounds import Bench  # noqa: E402
from compare.tools import TOOLS  # noqa: E402

RESULTS = REPOSITORY / "docs" / "benchmarks.json"


def main() -> int:
    """Measure, keep the figures, write the report."""
    options = argparse.ArgumentParser(
        prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", nargs="+", choices=[tool.name for tool in TOOLS])
    options.add_argument(
        "--report", action="store_true", help="measure nothing: write the report anew"
    )
    said = options.parse_args()
    if not said.report:
        results = measure(said.rows, said.rounds, said.only)
        if said.only:
            return 0
        RESULTS.write_text(json.dumps(results.to_json(), indent=1) + "\n", "utf-8")
    write(Results.from_json(json.loads(RESULTS.read_text("utf-8"))))
    return 0


def measure(rows: int, rounds: int, only: list[str] | None) -> Results:
    """All rounds; each run is printed as soon as it is over."""
    began = datetime.now(UTC)
    bench = Bench(rows, lambda text: print(text, flush=True))
    try:
        chosen = [tool for tool in TOOLS if not only or tool.name in only]
        runs = [*bench.rounds(rounds, chosen)]
        about = {**peers.versions(), **bench.servers()}
    finally:
        bench.close()
    return Results(rows, rounds, f"{began:%Y-%m-%d}", machine.described(), about, runs)


def write(results: Results) -> None:
    """The page, its pictures, and, when the machine was quiet, the README's lines."""
    docs = REPOSITORY / "docs"
    (docs / "benchmarks.md").write_text(report.page(results), "utf-8")
    for name, picture in bars.pictures(results).items():
        (docs / "images" / f"{name}.svg").write_text(picture, "utf-8")
    readme = REPOSITORY / "README.md"
    readme.write_text(report.in_readme(readme.read_text("utf-8"), results), "utf-8")
    print(report.page(results))


if __name__ == "__main__":
    sys.exit(main())

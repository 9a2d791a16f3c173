"""``python -m faults``: the fault campaign, and its report. See docs/faults.md.

Each trial's outcome is appended to ``outcomes.jsonl`` in the folder of ``--keep`` as soon as it is
known; what is there already is not done again. The report is made of that file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import services
from faults import report
from faults.campaign import FAULTS, Fault, Outcome, trials
from faults.runs import Warm
from faults.world import Servers, UnableError

REPORT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


def main() -> int:
    """Run what was asked for; 1 when a trial failed."""
    options = _options()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = folder / "outcomes.jsonl"
    known = [Outcome(**json.loads(line)) for line in _lines(outcomes)]
    if not options.report_only:
        with Warm() as warm, tempfile.TemporaryDirectory(prefix="worlds-") as worlds:
            lanes = [Servers(warm, {}, Path(worlds)) for _ in range(options.lanes)]
            try:
                known += _campaign(options, lanes, outcomes, known)
            finally:
                for server in [server for lane in lanes for server in lane.known.values()]:
                    server.close()
    if not options.fault:
        REPORT.write_text(report.written(known), encoding="utf-8")
    bad = [outcome for outcome in known if not outcome.clean]
    print(f"{len(known)} trials, {len(bad)} failed; outcomes in {outcomes}")
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    add = parser.add_argument
    add("--fault", action="append", help="only this one, as F1; may be repeated")
    add("--source", help="only this kind, mariadb or postgres")
    add("--store", help="only this kind, sqlite or postgres")
    add("--trials", type=int, help="how often each fault must strike, per source and store")
    add("--scale", type=float, default=1.0, help="a multiple of the usual numbers of trials")
    add("--seed", type=int, default=0, help="the first trial's; the next ones count on")
    add("--lanes", type=int, default=3, help="trials at once, each on servers of its own")
    add("--keep", type=Path, help="folder of outcomes; give it again to go on")
    add("--report-only", action="store_true", help="write the report of what is kept")
    return parser.parse_args()


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _campaign(
    options: argparse.Namespace, lanes: list[Servers], file: Path, known: list[Outcome]
) -> list[Outcome]:
    found: list[Outcome] = []
    struck = Counter((o.fault, o.source, o.store) for o in known if o.struck or not o.clean)

    commit = report.commit()

    def tell(outcome: Outcome) -> None:
        outcome.commit = commit
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(outcome)) + "\n")
        if not outcome.clean:
            print(f"FAILED {outcome}\n  once more: {outcome.again}", flush=True)

    for fault in FAULTS:
        for source, store in pairs(options, fault):
            each = options.trials or max(1, round(fault.each * options.scale))
            left = each - struck[fault.code, source, store]
            if left <= 0:
                continue
            if reason := missing(lanes[: fault.at_once], fault, source, store):
                print(f"{fault.code} {source} → {store}: not tried: {reason}", flush=True)
                continue
            began = time.monotonic()
            seed = options.seed + (each - left) * 10
            done = trials(lanes, fault, source, store, left, seed, tell)
            found += done
            print(
                f"{fault.code} {source} → {store}: {sum(o.struck for o in done)} of {len(done)} "
                f"struck, {sum(not o.clean for o in done)} failed, "
                f"{time.monotonic() - began:.0f} s", flush=True,
            )  # fmt: skip
    return found


def pairs(options: argparse.Namespace, fault: Fault) -> list[tuple[str, str]]:
    """Source and store of the trials of *fault*."""
    if options.fault and fault.code not in options.fault:
        return []
    return [
        (source, store)
        for source in fault.sources
        for store in fault.stores
        if options.source in {None, source} and options.store in {None, store}
    ]


def missing(lanes: list[Servers], fault: Fault, source: str, store: str) -> str:
    """Start the servers that are needed; why that cannot be, else empty."""
    try:
        for servers in lanes:
            fault.begin(servers, source, store)
    except (services.UnavailableServerError, UnableError) as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())

"""Commands about runs and what they loaded: ``run``, ``status``, ``compare``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tidegate import describe
from tidegate.cli.pipelines import files, job, jobs
from tidegate.cli.printing import table
from tidegate.cli.progress import shown
from tidegate.cli.words import DONE, NO, Add, code, moment, run_id, worst
from tidegate.connections import from_environment
from tidegate.errors import ConfigError, TidegateError
from tidegate.job import Job, store_endpoint
from tidegate.model import Mode, Report, Request, Window


def commands(add: Add) -> None:
    """Declare them."""
    run = add("run", _run, "pull, clean, validate and load streams, one after another")
    run.add_argument("stream", nargs="+", help="source.stream; or source: all its streams")
    run.add_argument("--from", dest="since", type=moment, help="read a window: from this time …")
    run.add_argument("--to", dest="until", type=moment, help="… until this one (not included)")
    run.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with this run of the same window: read what it has not",
    )
    run.add_argument("--full", action="store_true", help="read everything, from the first row")
    status = add("status", _status, "show every stream: rows, quarantine, watermark, freshness")
    status.add_argument("stream", nargs="?", help="only this one, with its last runs")
    compare = add("compare", _compare, "read a source again and compare it with the store")
    compare.add_argument("stream", nargs="*", help="only these; default: every stream")


_NUMBERS = (
    "pulled", "inserted", "updated", "deleted", "unchanged", "stale", "deduplicated", "quarantined",
)  # fmt: skip


def _run(options: Any) -> int:
    todo = jobs(options, options.stream)
    if (options.since is None) != (options.until is None) or (options.full and options.since):
        raise ConfigError("run: give --from and --to together, or --full, or none of them.")
    if options.resume and not options.since:
        raise ConfigError("run: --resume goes on with a window: give its --from and --to, too.")
    if len(todo) == 1:
        return _run_one(todo[0], options)
    if options.resume:
        raise ConfigError("run: --resume goes on with one run: name its stream alone.")
    codes = []
    for one in todo:
        try:
            codes.append(_run_one(one, options))
        except TidegateError as error:  # the others are not to wait for it
            print(f"tidegate: {error}", file=sys.stderr)
            codes.append(code(error))
    return worst(codes)


def _run_one(todo: Job, options: Any) -> int:
    mode = Mode.FULL if options.full else Mode.WINDOW if options.since else Mode.INCREMENT
    window = Window.between(options.since, options.until) if options.since else None
    request = Request(todo.full_name, options.resume or run_id(), mode, window)
    report = describe.report((_backfill if window else _once)(todo, request, options))
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        numbers = ", ".join(f"{report[name]:,} {name}" for name in _NUMBERS)
        print(f"{todo.full_name} ({mode}): {numbers}; watermark {report['watermark']}")
        if report["details"].get("gone"):
            print(f"{report['details']['gone']:,} of them are gone at the source")
        if report["details"].get("mapping") == "outdated":
            print(f"load: was changed. To apply it: tidegate derive {todo.full_name}")
    return DONE


def _once(todo: Job, request: Request, options: Any) -> Report:
    from tidegate import path

    with shown(todo.full_name, quiet=options.json):
        return path.run(todo, request)


def _backfill(todo: Job, request: Request, options: Any) -> Report:
    """A window, chunk by chunk; says how to go on when it is interrupted."""
    from tidegate import backfill

    window = Window.between(options.since, options.until)
    chunks = backfill.left(todo, window, request.run_id)
    rows = [chunk.rows for chunk in chunks]
    expected = None if None in rows else sum(row or 0 for row in rows)
    again = (
        f"{todo.full_name}: to go on when this is interrupted: tidegate run {todo.full_name} "
        f"--from {window.since} --to {window.until} --resume {request.run_id}"
    )
    if len(chunks) > 1 and not options.json:
        size = "" if expected is None else f", {expected:,} rows"
        print(f"{todo.full_name}: {len(chunks)} chunks{size}\n{again}", file=sys.stderr, flush=True)
    with shown(todo.full_name, expected, quiet=options.json):
        return backfill.run(todo, request, chunks)


def _status(options: Any) -> int:
    from tidegate.store import open_store

    with open_store(store_endpoint(from_environment)) as store:
        streams = [asdict(item) for item in store.status() if options.stream in (None, item.stream)]
        runs = store.runs(options.stream, 10) if options.stream else []
    for item in streams:
        for name in ("watermark", "verified_through"):
            item[name] = item[name]["cursor"] if item[name] else None
        item["freshness_seconds"] = _age(item["observed_at"])
    if options.json:
        print(json.dumps({"streams": streams, "runs": runs}, indent=1, ensure_ascii=False))
        return DONE
    counts = ["rows", "deleted", "duplicates", "quarantined"]
    proof = ["verified_through", "verified_at", "repaired"]
    table(["stream", *counts, "watermark", "freshness_seconds", *proof], streams)
    for item in streams:
        print(*_standing(item), sep="\n")
    if runs:
        print()
        for run in runs:
            run["part"] = f"{run['part']}/{run['parts']}"
        table(["seq", "mode", "part", *_NUMBERS, "gone", "fence", "committed_at"], runs)
        for run in runs:
            if run["bound"] or run["census"]:
                print(f"{run['seq']}: {run['bound'] or ''} {run['census'] or ''}".rstrip())
    return DONE


def _standing(item: dict[str, Any]) -> Iterator[str]:
    """What else there is to say of a stream, a line each."""
    if item["bound"]:
        yield f"{item['stream']}: bound: {item['bound']}"
    if item["running"]:
        yield f"{item['stream']}: run {item['running']} has the lease, to {item['running_until']}"


def _age(moment: str | None) -> float | None:
    if moment is None:
        return None
    return round((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds(), 1)


def _compare(options: Any) -> int:
    from tidegate.compare import compare

    names = options.stream
    if not names:
        for file in files(options):
            for error in file.broken.values():
                raise error
            names = [*names, *(f"{file.name}.{name}" for name in file.streams)]
    results = [compare(job(options, name)) for name in names]
    rows = [{**asdict(result), "agrees": result.agrees} for result in results]
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        table(
            ["stream", "source_rows", "matched", "held", "missing", "stale", "extra", "agrees"],
            rows,
        )
    return DONE if all(result.agrees for result in results) else NO

"""The same path from a shell, without Airflow: ``tidegate check | run | status | quarantine …``.

Exit codes: 0 done · 1 the rows, the source or the store said no · 2 wrong usage or pipeline file ·
3 the other side did not answer, try again · 4 another run was faster, nothing was kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate import describe, settings
from tidegate.connections import from_environment
from tidegate.errors import ConfigError, OvertakenError, TidegateError, UnavailableError
from tidegate.fields import did_you_mean
from tidegate.model import Mode, Request, Window
from tidegate.path import Job, store_endpoint
from tidegate.pipeline.reader import PipelineFile, read_all

DONE, NO, USAGE, LATER, OVERTAKEN = range(5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except TidegateError as error:
        print(f"tidegate: {error}", file=sys.stderr)
        if isinstance(error, ConfigError):
            return USAGE
        if isinstance(error, UnavailableError):
            return LATER
        return OVERTAKEN if isinstance(error, OvertakenError) else NO


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tidegate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipelines", type=Path, help="folder of the pipeline files")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", help="print JSON, for machines")
        return sub

    check = add("check", _check, "read every pipeline file and say what is wrong with it")
    check.add_argument("names", nargs="*", metavar="SOURCE", help="only these files")
    check.add_argument("--connect", action="store_true", help="also ask the sources")
    run = add("run", _run, "pull, clean, validate and load one stream")
    run.add_argument("stream", help="source.stream")
    run.add_argument("--from", dest="since", type=_moment, help="read a window: from this time …")
    run.add_argument("--to", dest="until", type=_moment, help="… until this one (not included)")
    run.add_argument("--full", action="store_true", help="read everything, from the first row")
    status = add("status", _status, "show every stream: rows, quarantine, watermark, freshness")
    status.add_argument("stream", nargs="?", help="only this one, with its last runs")
    compare = add("compare", _compare, "read a source again and compare it with the store")
    compare.add_argument("stream", nargs="*", help="only these; default: every stream")
    held = add("quarantine", _quarantine, "show the rows that are held back, and why")
    held.add_argument("action", choices=["list", "show"])
    held.add_argument("stream", nargs="?", help="only this stream")
    held.add_argument("key", nargs="?", help="for show: the row's primary key")
    held.add_argument("--limit", type=int, default=100)
    docs = add("docs", _docs, "build Great Expectations' Data Docs from the stored suites")
    docs.add_argument("--home", type=Path, help="where the suites are; default: TIDEGATE_HOME")
    add("schema", _schema, "print the JSON Schema of pipeline files")
    return parser


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        hint = "is not a time. Write it like 2026-01-31 or 2026-01-31T12:30+00:00"
        raise argparse.ArgumentTypeError(f"{text!r} {hint}") from error


def _files(options: Any) -> list[PipelineFile]:
    folder = options.pipelines or settings.pipelines()
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Give one with --pipelines.")
    return read_all(folder)


def _job(options: Any, name: str) -> Job:
    known = []
    for file in _files(options):
        for stream, error in file.broken.items():
            if name in {f"{file.name}.{stream}", stream} or (
                file.source is None and name.startswith(f"{file.name}.")
            ):
                raise error
        for stream, spec in file.streams.items():
            if file.source is not None:
                known.append(f"{file.name}.{stream}")
                if known[-1] == name:
                    return Job(file.source, stream, spec, from_environment)
    raise _unknown("stream", name, known)


def _unknown(what: str, name: str, known: list[str]) -> ConfigError:
    hint = did_you_mean(name, known)
    return ConfigError(f"no {what} {name!r}.{hint} Known: {', '.join(known) or 'none'}")


def _check(options: Any) -> int:
    results: list[dict[str, Any]] = []
    files = _files(options)
    for name in options.names:
        if name not in {file.name for file in files}:
            raise _unknown("pipeline file", name, [file.name for file in files])
    for file in files:
        if options.names and file.name not in options.names:
            continue
        results += [
            {
                "stream": f"{file.name}.{name}" if file.source else file.name,
                "level": "error",
                "message": str(error),
            }
            for name, error in file.broken.items()
        ]
        for name, stream in file.streams.items():
            if file.source is not None:
                job = Job(file.source, name, stream, from_environment)
                results += _findings(job) if options.connect else [_fine(job)]
    bad = any(result["level"] == "error" for result in results)
    if options.json:
        print(json.dumps(results, indent=1, ensure_ascii=False))
    else:
        for result in results:
            print(f"{result['level']:8} {result['stream']}: {result['message']}")
    return USAGE if bad else DONE


def _fine(job: Job) -> dict[str, Any]:
    return {"stream": job.full_name, "level": "ok", "message": "the file is right"}


def _findings(job: Job) -> list[dict[str, Any]]:
    from tidegate import clean
    from tidegate.sources import open_source
    from tidegate.store import tables
    from tidegate.validate import Suite

    found: list[dict[str, Any]] = []
    try:
        with open_source(job.endpoint(), job.stream, job.full_name) as source:
            found = [asdict(finding) for finding in source.check()]
            columns = clean.outline(source.columns(), job.stream.clean)
        tables.plan(job.full_name, columns, job.stream, marks=False)
        Suite(job.full_name, job.stream.expect, columns).verify()
    except TidegateError as error:
        if str(error) not in [finding["message"] for finding in found]:
            found.append({"level": "error", "message": str(error)})
    results = [{"stream": job.full_name, **finding} for finding in found]
    for result in results:
        result["message"] = result["message"].removeprefix(f"{job.full_name}: ")
    return results or [{**_fine(job), "message": "the file and the source agree"}]


def _run(options: Any) -> int:
    from tidegate import path

    job = _job(options, options.stream)
    if (options.since is None) != (options.until is None) or (options.full and options.since):
        raise ConfigError("run: give --from and --to together, or --full, or none of them.")
    mode = Mode.FULL if options.full else Mode.WINDOW if options.since else Mode.INCREMENT
    window = Window.between(options.since, options.until) if options.since else None
    run_id = f"shell__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{uuid.uuid4().hex[:8]}"
    report = describe.report(path.run(job, Request(job.full_name, run_id, mode, window)))
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        numbers = ", ".join(f"{report[name]:,} {name}" for name in _NUMBERS)
        print(f"{job.full_name} ({mode}): {numbers}; watermark {report['watermark']}")
    return DONE


_NUMBERS = (
    "pulled", "inserted", "updated", "deleted", "unchanged", "stale", "deduplicated", "quarantined",
)  # fmt: skip


def _status(options: Any) -> int:
    from tidegate.store import open_store

    with open_store(store_endpoint(from_environment)) as store:
        streams = [asdict(item) for item in store.status() if options.stream in (None, item.stream)]
        runs = store.runs(options.stream, 10) if options.stream else []
    for item in streams:
        item["watermark"] = item["watermark"]["cursor"] if item["watermark"] else None
        item["freshness_seconds"] = _age(item["observed_at"])
    if options.json:
        print(json.dumps({"streams": streams, "runs": runs}, indent=1, ensure_ascii=False))
        return DONE
    counts = ["rows", "deleted", "duplicates", "quarantined"]
    _table(["stream", *counts, "watermark", "freshness_seconds"], streams)
    if runs:
        print()
        _table(["seq", "mode", *_NUMBERS, "committed_at"], runs)
    return DONE


def _age(moment: str | None) -> float | None:
    if moment is None:
        return None
    return round((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds(), 1)


def _compare(options: Any) -> int:
    from tidegate.compare import compare

    names = options.stream
    if not names:
        for file in _files(options):
            for error in file.broken.values():
                raise error
            names = [*names, *(f"{file.name}.{name}" for name in file.streams)]
    results = [compare(_job(options, name)) for name in names]
    rows = [{**asdict(result), "agrees": result.agrees} for result in results]
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        _table(
            ["stream", "source_rows", "matched", "held", "missing", "stale", "extra", "agrees"],
            rows,
        )
    return DONE if all(result.agrees for result in results) else NO


def _quarantine(options: Any) -> int:
    from tidegate.store import open_store

    with open_store(store_endpoint(from_environment)) as store:
        rows = store.held(options.stream, options.limit if options.key is None else 10**9)
    if options.key is not None:
        rows = [row for row in rows if row["key"] == options.key]
    if options.json or options.action == "show":
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        if options.key is not None and not rows:
            print(f"tidegate: {options.stream}: no row {options.key!r} is held", file=sys.stderr)
            return NO
        return DONE
    for row in rows:
        row["reason"] = "; ".join(reason["message"] for reason in row["reasons"])
    _table(["stream", "key", "held_at", "reason"], rows)
    return DONE


def _docs(options: Any) -> int:
    from tidegate.validate.docs import build_docs

    print(build_docs(options.home or settings.home()))
    return DONE


def _schema(_: Any) -> int:
    from tidegate.pipeline import schema

    print(schema.text())
    return DONE


def _table(columns: list[str], rows: list[dict[str, Any]]) -> None:
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [
        max([len(column), *(len(row[i]) for row in cells)]) for i, column in enumerate(columns)
    ]
    for line in [columns, *cells]:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())

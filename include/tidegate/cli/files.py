"""Commands about pipeline files: ``check``, ``docs``, ``schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tidegate import settings
from tidegate.cli.pipelines import files, unknown
from tidegate.cli.words import DONE, USAGE, Add
from tidegate.connections import from_environment
from tidegate.errors import TidegateError
from tidegate.job import Job


def commands(add: Add) -> None:
    """Declare them."""
    check = add("check", _check, "read every pipeline file and say what is wrong with it")
    check.add_argument("names", nargs="*", metavar="SOURCE", help="only these files")
    check.add_argument("--connect", action="store_true", help="also ask the sources")
    docs = add("docs", _docs, "build Great Expectations' Data Docs from the stored suites")
    docs.add_argument("--home", type=Path, help="where the suites are; default: TIDEGATE_HOME")
    add("schema", _schema, "print the JSON Schema of pipeline files")


def _check(options: Any) -> int:
    results: list[dict[str, Any]] = []
    known = files(options)
    for name in options.names:
        if name not in {file.name for file in known}:
            raise unknown("pipeline file", name, [file.name for file in known])
    for file in known:
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
    from tidegate.sources import Finding, open_source
    from tidegate.store.record import records
    from tidegate.validate import Suite

    found: list[Finding] = []
    try:
        with open_source(job.endpoint(), job.stream, job.full_name) as source:
            found = [finding for finding in source.check() if finding.level != "note"]
            columns = clean.outline(source.columns(), job.stream.clean)
        records.plan(job.full_name, columns, job.stream, marks=False)
        Suite(job.full_name, job.stream.expect, columns).verify()
    except TidegateError as error:
        if str(error) not in {finding.what for finding in found}:
            found.append(Finding("error", str(error), "not-as-declared", ""))
    results = [
        {
            "stream": job.full_name,
            "level": finding.level,
            "code": finding.code,
            "message": finding.message.removeprefix(f"{job.full_name}: "),
        }
        for finding in found
    ]
    return results or [{**_fine(job), "message": "the file and the source agree"}]


def _docs(options: Any) -> int:
    from tidegate.validate.docs import build_docs

    print(build_docs(options.home or settings.home()))
    return DONE


def _schema(_: Any) -> int:
    from tidegate.pipeline import schema

    print(schema.text())
    return DONE

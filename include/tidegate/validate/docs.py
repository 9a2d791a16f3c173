"""Suites kept where Great Expectations finds them, and Data Docs built from them on demand.

Below ``<home>/gx``, readable by its owner only::

    great_expectations.yml      the file context; any Great Expectations tool can open it
    expectations/…              one suite per stream, as the pipeline file has it
    last/<stream>.json          counts of the last validation; never a value of a row
    uncommitted/data_docs/…     the static site

Writers hold a file lock and replace files whole, so any number of processes may save at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate.errors import ConfigError
from tidegate.model import Json
from tidegate.validate import engine
from tidegate.validate.suite import Outcome, Suite

_SPACE = uuid.UUID("6f1f0f5e-7c57-4c0e-9a4e-5d1f2d6f0c11")
_BEACON = re.compile(r"https://great-expectations-web-assets\.[^\"')\s]*")
"""Logos that tell Great Expectations the context's id and the time whenever a page is opened."""
_FIELDS = ("meta", "notes", "description", "severity")


def save_suite(suite: Suite, home: Path) -> Path:
    """Write *suite* into the file context below *home*; returns its file.

    Nothing is written when the file says the same already.
    """
    folder = _folder(home)
    target = folder.joinpath("expectations", *suite.stream_name.split(".")).with_suffix(".json")
    text = json.dumps(_suite_json(suite), ensure_ascii=False, indent=2, sort_keys=True)
    if (folder / "great_expectations.yml").exists() and _reads(target) == text:
        return target
    with _lock(folder):
        _context(folder)
        _replace(target, text)
    return target


def save_outcome(stream_name: str, outcome: Outcome, home: Path) -> Path:
    """Keep the counts of the last validation of a stream for the Data Docs; returns the file."""
    checks = [
        {"expectation": check.expectation, "rows": check.rows, "failed": check.failed}
        for check in outcome.checks
    ]
    value = {"stream": stream_name, "at": datetime.now(UTC).isoformat(), "checks": checks}
    folder = _folder(home)
    target = folder / "last" / f"{stream_name}.json"
    with _lock(folder):
        _replace(target, json.dumps(value, ensure_ascii=False, indent=1))
    return target


def build_docs(home: Path, outcomes: Mapping[str, Outcome] | None = None) -> Path:
    """Build the Data Docs of every saved suite; returns the page to open.

    *outcomes* (stream name → outcome) are saved first; the site shows the last one per stream.
    """
    for stream_name, outcome in (outcomes or {}).items():
        save_outcome(stream_name, outcome, home)
    folder = _folder(home)
    with _lock(folder):
        context = _context(folder)
        results = folder / "uncommitted" / "validations"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        suites = {suite.name: suite for suite in context.suites.all()}
        for file in sorted((folder / "last").glob("*.json")):
            last = json.loads(file.read_text(encoding="utf-8"))
            if last["stream"] in suites:
                _store_result(context, suites[last["stream"]], last)
        context.build_data_docs()
        site = folder / "uncommitted" / "data_docs" / "local_site"
        for page in site.rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            _replace(page, _BEACON.sub("", text))
    return site / "index.html"


def _suite_json(suite: Suite) -> dict[str, Json]:
    """The suite in the form of the expectations store, with ids that depend on content only."""
    import great_expectations as gx

    expectations = []
    for number, rule in enumerate(suite.rules):
        fields = {key: rule.given[key] for key in _FIELDS if key in rule.given}
        kwargs = {key: value for key, value in rule.given.items() if key not in _FIELDS}
        content = json.dumps([suite.stream_name, number, rule.name, kwargs], sort_keys=True)
        expectations.append(
            {
                "id": str(uuid.uuid5(_SPACE, content)),
                "type": rule.name,
                "kwargs": kwargs,
                "severity": "critical",
                "meta": {},
                **fields,
            }
        )
    return {
        "name": suite.stream_name,
        "id": str(uuid.uuid5(_SPACE, suite.stream_name)),
        "expectations": expectations,
        "meta": {"great_expectations_version": gx.__version__},
        "notes": None,
    }


def _results(suite: Any, last: dict[str, Json]) -> list[Any] | None:
    """One result of counts per expectation, or None when they are not those of the suite."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    configurations = suite.expectation_configurations
    if [item.type for item in configurations] != [c["expectation"] for c in last["checks"]]:
        return None
    results = []
    for configuration, check in zip(configurations, last["checks"], strict=True):
        rows, failed = check["rows"], check["failed"]
        share = failed / rows * 100 if rows else 0.0
        counts = {"element_count": rows, "unexpected_count": failed, "unexpected_percent": share}
        empty: dict[str, Any] = {"partial_unexpected_list": [], "partial_unexpected_counts": []}
        mostly = configuration.kwargs.get("mostly", 1)
        results.append(
            ExpectationValidationResult(
                success=failed == 0 if mostly == 1 else share <= (1 - mostly) * 100,
                expectation_config=configuration,
                result=counts | empty,
                exception_info={"raised_exception": False},
            )
        )
    return results


def _store_result(context: Any, suite: Any, last: dict[str, Json]) -> None:
    """Give the context a validation result that holds counts and nothing else."""
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
    )
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    results = _results(suite, last)
    if results is None:
        return  # the suite changed since; the next run will tell
    met = sum(bool(result.success) for result in results)
    at = datetime.fromisoformat(last["at"])
    run = RunIdentifier(run_name=last["at"], run_time=at)
    context.validation_results_store.set(
        ValidationResultIdentifier(ExpectationSuiteIdentifier(suite.name), run, suite.name),
        ExpectationSuiteValidationResult(
            success=met == len(results),
            results=results,
            suite_name=suite.name,
            statistics={
                "evaluated_expectations": len(results),
                "successful_expectations": met,
                "unsuccessful_expectations": len(results) - met,
                "success_percent": met / len(results) * 100 if results else None,
            },
            meta={"run_id": run, "active_batch_definition": {"data_asset_name": suite.name}},
        ),
    )


def _context(folder: Path) -> Any:
    """The file context in *folder*, made when it is not there; the lock must be held."""
    engine.load()
    import great_expectations as gx

    try:
        context = gx.get_context(mode="file", project_root_dir=folder.parent)
    except gx.exceptions.GreatExpectationsError as error:
        raise ConfigError(
            f"{folder}: Great Expectations cannot open it ({str(error).splitlines()[0]}). "
            "Remove the folder; it is written anew by the next run."
        ) from error
    if context.config.analytics_enabled is not False:
        context.enable_analytics(False)
    return context


def _folder(home: Path) -> Path:
    folder = Path(home).resolve() / "gx"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reads(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _replace(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(target)

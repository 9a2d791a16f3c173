"""Commands that look after the store: ``derive``, ``keep``, ``upgrade``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tidegate.cli.pipelines import files, job
from tidegate.cli.printing import table
from tidegate.cli.words import DONE, Add, positive
from tidegate.connections import from_environment
from tidegate.errors import ConfigError
from tidegate.job import store_endpoint
from tidegate.pipeline.keeping import MOST_DAYS, policies


def commands(add: Add) -> None:
    """Declare them."""
    derive = add("derive", _derive, "derive knowledge anew where a mapping was changed")
    derive.add_argument("stream", nargs="*", help="only these; default: every stream")
    derive.add_argument(
        "--rows", type=positive, default=20_000, help="records in one commit; default: 20000"
    )
    keep = add("keep", _keep, "move what keep: no longer keeps into Parquet files")
    keep.add_argument("stream", nargs="*", help="only these; default: every stream with keep:")
    keep.add_argument("--days", type=int, help="this age, instead of those in the files")
    keep.add_argument("--dry-run", action="store_true", help="count, and move nothing")
    add("upgrade", _upgrade, "bring the store to this program's version")


def _derive(options: Any) -> int:
    from tidegate.store import open_store

    names = options.stream or [
        f"{file.name}.{name}" for file in files(options) if file.source for name in file.streams
    ]
    results = []
    with open_store(store_endpoint(from_environment)) as store:
        for name in names:
            done: dict[str, int] = {}
            for step in store.derive(name, job(options, name).stream, options.rows):
                done[step.what] = done.get(step.what, 0) + step.rows
            results.append({"stream": name, "derived": "switch" in done, "steps": done})
            if not options.json:
                words = "derived anew" if "switch" in done else "the mapping is the file's"
                print(f"{name}: {words}")
    if options.json:
        print(json.dumps(results, ensure_ascii=False))
    return DONE


def _keep(options: Any) -> int:
    from tidegate.store import open_store

    if options.days is not None and not 0 <= options.days <= MOST_DAYS:
        raise ConfigError(f"keep: --days is {options.days}. Give 0 or more, {MOST_DAYS} at most.")
    known = policies(files(options), options.days)
    for name in options.stream:
        if name not in known:
            job(options, name)  # says so when there is no such stream
            raise ConfigError(f"{name}: it has no keep: block, so everything stays. Write one.")
    with open_store(store_endpoint(from_environment)) as store:
        moved = [
            asdict(store.trim(name, known[name], dry_run=options.dry_run))
            for name in options.stream or known
        ]
    if options.json:
        print(json.dumps(moved, ensure_ascii=False))
    else:
        table(["stream", "history", "quarantine", "arrivals", "waits_for"], moved)
    return DONE


def _upgrade(options: Any) -> int:
    from tidegate.store import upgrade

    before, after = upgrade.run(store_endpoint(from_environment))
    if options.json:
        print(json.dumps({"before": before, "after": after}))
    elif before in {None, after}:
        print(f"the store has schema {after}: there is nothing to do")
    else:
        print(f"the store was upgraded from schema {before} to {after}")
    return DONE

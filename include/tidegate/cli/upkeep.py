"""Commands that look after the store: ``derive``."""

from __future__ import annotations

import json
from typing import Any

from tidegate.cli.pipelines import files, job
from tidegate.cli.words import DONE, Add
from tidegate.connections import from_environment
from tidegate.path import store_endpoint


def commands(add: Add) -> None:
    """Declare them."""
    derive = add("derive", _derive, "derive knowledge anew where a mapping was changed")
    derive.add_argument("stream", nargs="*", help="only these; default: every stream")
    derive.add_argument(
        "--rows", type=int, default=20_000, help="records in one commit; default: 20000"
    )


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

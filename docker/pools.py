"""Print the pools that the pipeline files name, in the form `airflow pools import` reads."""

from __future__ import annotations

import json
import sys

from tidegate import settings
from tidegate.pipeline.reader import read_all


def main() -> None:
    """One pool per name; sources that share a pool get the larger number of slots."""
    pools: dict[str, dict[str, object]] = {}
    slots: dict[str, int] = {}
    for file in read_all(settings.pipelines()):
        for error in file.broken.values():
            print(error, file=sys.stderr)
        if file.source is None or file.source.pool is None:
            continue
        name = file.source.pool
        slots[name] = max(slots.get(name, 0), file.source.pool_slots)
        pools[name] = {
            "slots": slots[name],
            "description": "at most so many tasks read this source at once",
            "include_deferred": False,
        }
    json.dump(pools, sys.stdout, indent=1)


if __name__ == "__main__":
    main()

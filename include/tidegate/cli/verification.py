"""``verify-store``: whether everything is as it must be in a store, and its repair."""

from __future__ import annotations

import json
from typing import Any

from tidegate.cli.printing import table
from tidegate.cli.words import DONE, NO, Add, positive
from tidegate.connections import from_environment
from tidegate.job import store_endpoint


def commands(add: Add) -> None:
    """Declare it."""
    verify = add("verify-store", _verify, "check what must always be true of the store")
    verify.add_argument("stream", nargs="*", help="only these, as source.stream; default: all")
    verify.add_argument("--repair", action="store_true", help="repair what is wrong")
    verify.add_argument(
        "--sample", type=positive, metavar="N",
        help="draw and hash again N random records of each stream, instead of all",
    )  # fmt: skip


def _verify(options: Any) -> int:
    from tidegate.store import open_store
    from tidegate.store.checks.invariants import INVARIANTS

    streams = options.stream or None
    with open_store(store_endpoint(from_environment)) as store:
        found = store.verify(streams, options.sample)
        remarks = store.repair(found) if options.repair and found else []
        left = store.verify(streams, options.sample) if options.repair and found else found
    rows = [violation.to_json() for violation in found]
    if options.json:
        still = [violation.to_json() for violation in left]
        print(json.dumps({"found": rows, "left": still, "remarks": remarks}, ensure_ascii=False))
        return NO if left else DONE
    if rows:
        table(["invariant", "stream", "object", "problem"], rows)
    for invariant in sorted(INVARIANTS, key=lambda one: one.id):
        count = sum(one.invariant == invariant.id for one in found)
        print(f"{invariant.id} {invariant.meaning}: {f'violated {count:,} ×' if count else 'yes'}")
    for remark in remarks:
        print(remark)
    if options.repair and found:
        print(f"Left after the repair: {len(left):,}" if left else "All of it is repaired.")
    return NO if left else DONE

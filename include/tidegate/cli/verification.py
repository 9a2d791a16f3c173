"""``verify``: is the store what the sources say; ``verify-store``: is it in order in itself."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tidegate.cli.pipelines import files, job
from tidegate.cli.printing import table
from tidegate.cli.words import DONE, NO, Add, code, positive, worst
from tidegate.connections import from_environment
from tidegate.errors import TidegateError
from tidegate.job import store_endpoint


def commands(add: Add) -> None:
    """Declare them."""
    source = add("verify", _verify_source, "compare streams with their sources, and repair them")
    source.add_argument("stream", nargs="*", help="only these; default: all with verify: enabled")
    how = source.add_mutually_exclusive_group()
    how.add_argument("--no-repair", action="store_true", help="report what differs, mend nothing")
    how.add_argument(
        "--allow-deletes", type=_count, metavar="N",
        help="let N rows be deleted in each stream, instead of deletes: brake; "
        "repairs, whatever the file says",
    )  # fmt: skip
    source.add_argument("--again", action="store_true", help="do not go on where the last one was")
    verify = add("verify-store", _verify, "check what must always be true of the store")
    verify.add_argument("stream", nargs="*", help="only these, as source.stream; default: all")
    verify.add_argument("--repair", action="store_true", help="repair what is wrong")
    verify.add_argument(
        "--sample", type=positive, metavar="N",
        help="draw and hash again N random records of each stream, instead of all",
    )  # fmt: skip


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows. Write 0 or more")
    return int(text)


def _verify_source(options: Any) -> int:
    """Every stream is looked at, whatever is wrong with another."""
    from tidegate.verify import verify

    results, failed, codes = [], [], []
    for todo in [job(options, name) for name in options.stream or _enabled(options)]:
        try:
            result = verify(
                todo, repair=False if options.no_repair else None,
                allow_deletes=options.allow_deletes, again=options.again,
            )  # fmt: skip
        except TidegateError as error:
            failed.append({"stream": todo.full_name, "verified": False, "note": str(error)})
            codes.append(code(error))
        else:
            results.append(result.to_json())
            codes.append(DONE if result.verified else NO)
    if options.json:
        print(json.dumps([*results, *failed], ensure_ascii=False))
    else:
        table(["stream", "verified", *_FOUND, "seconds", "note"], results)
        for item in failed:
            print(f"tidegate: {item['note']}", file=sys.stderr)
    return worst(codes)


_FOUND = ["compared", "listed", "differing", "repaired", "tombstoned", "touched"]


def _enabled(options: Any) -> list[str]:
    """Every stream that may be verified; raises the error of a file that is broken."""
    names = []
    for file in files(options):
        for error in file.broken.values():
            raise error
        streams = file.streams.items()
        names += [f"{file.name}.{name}" for name, stream in streams if stream.verifies]
    return names


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

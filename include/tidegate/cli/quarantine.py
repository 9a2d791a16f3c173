"""Commands about the rows that are held back: ``quarantine list | show | replay``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tidegate import describe
from tidegate.cli.pipelines import job
from tidegate.cli.printing import table
from tidegate.cli.words import DONE, NO, Add, moment, run_id
from tidegate.connections import from_environment
from tidegate.job import store_endpoint
from tidegate.model import Mode, Replay, Request, utc_text

_STATES = ("held", "mended", "gone", "replayed", "outdated")


def commands(add: Add) -> None:
    """Declare them."""
    held = add("quarantine", _list, "show the rows that are held back, and why; try them again")
    actions = held.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
        return sub

    rows = action("list", _list, "the rows, with state, attempts and reasons")
    rows.add_argument("stream", nargs="?", help="only this stream")
    rows.add_argument("--state", choices=_STATES, default="held", help="default: held")
    rows.add_argument("--limit", type=int, default=100)
    show = action("show", _show, "whole rows, as the source had them")
    show.add_argument("stream", nargs="?", help="only this stream")
    show.add_argument("key", nargs="?", help="the row's primary key; shown whatever its state")
    show.add_argument("--limit", type=int, default=100)
    again = action("replay", _replay, "clean, validate and load held rows once more")
    again.add_argument("stream", help="source.stream")
    again.add_argument("key", nargs="*", help="only these; default: every held row")
    again.add_argument("--rule", help="only rows that broke this rule")
    again.add_argument("--since", type=moment, help="only rows held at or after this time")
    again.add_argument(
        "--include-mended", action="store_true",
        help="also rows of which a newer version is loaded, for the history",
    )  # fmt: skip


def _list(options: Any) -> int:
    rows = _rows(options.stream, options.limit, options.state)
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return DONE
    for row in rows:
        row["reason"] = "; ".join(reason["message"] for reason in row["reasons"])
    table(["stream", "key", "state", "attempts", "held_at", "reason"], rows)
    return DONE


def _show(options: Any) -> int:
    state = "held" if options.key is None else None
    rows = _rows(options.stream, options.limit, state, options.key)
    print(json.dumps(rows, indent=1, ensure_ascii=False))
    if options.key is not None and not rows:
        print(f"tidegate: {options.stream}: no row {options.key!r} is held", file=sys.stderr)
        return NO
    return DONE


def _replay(options: Any) -> int:
    from tidegate import path

    todo = job(options, options.stream)
    since = utc_text(options.since) if options.since else None
    wanted = Replay(tuple(options.key), options.rule, since, options.include_mended)
    report = path.run(todo, Request(todo.full_name, run_id(), Mode.REPLAY, replay=wanted))
    if options.json:
        print(json.dumps(describe.report(report), ensure_ascii=False))
    else:
        print(f"{todo.full_name}: {describe.fates(report)}")
    return DONE


def _rows(
    stream: str | None, limit: int, state: str | None, key: str | None = None
) -> list[dict[str, Any]]:
    from tidegate.store import open_store

    with open_store(store_endpoint(from_environment)) as store:
        return store.held(stream, limit, state, key)

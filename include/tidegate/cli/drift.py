"""Commands about columns that come and go: ``drift | drift accept | drift refuse``."""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tidegate.cli.printing import table
from tidegate.cli.words import DONE, Add
from tidegate.connections import from_environment
from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.job import store_endpoint

if TYPE_CHECKING:
    from tidegate.store import Store
    from tidegate.store.questions import Question
    from tidegate.types import Agreed


def commands(add: Add) -> None:
    """Declare them."""
    drift = add("drift", _list, "show what is asked about new columns, and what was agreed on")
    actions = drift.add_subparsers(metavar="ACTION")

    def action(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
        return sub

    shown = action("list", _list, "every stream's columns and questions; the same as no action")
    shown.add_argument("stream", nargs="?", help="only this one, as source.stream")
    for name, text in (
        ("accept", "read the column, and every row once more, from the next run on"),
        ("refuse", "leave the column out for good"),
    ):
        answer = action(name, _answer, text)
        answer.set_defaults(accept=name == "accept")
        answer.add_argument("stream", help="source.stream")
        answer.add_argument("column", help="as the table calls it")


def _list(options: Any) -> int:
    from tidegate.store import open_store

    stream = getattr(options, "stream", None)
    with open_store(store_endpoint(from_environment)) as store:
        names = [one.stream for one in store.status()] if stream is None else [stream]
        agreed = {name: _agreed(store, name) for name in names}
        questions = store.questions(stream)
    if options.json:
        columns = {name: [one.to_json() for one in some] for name, some in agreed.items()}
        asked = [asdict(one) for one in questions]
        print(json.dumps({"agreed": columns, "questions": asked}, indent=1, ensure_ascii=False))
        return DONE
    rows = [
        {
            "stream": name, "column": one.column.name, "type": str(one.column.type),
            "in the table": "gone" if one.seen is None else str(one.seen),
        }
        for name, some in agreed.items()
        for one in some
    ]  # fmt: skip
    table(["stream", "column", "type", "in the table"], rows)
    if questions:
        print()
        table(
            ["stream", "column", "type", "state", "asked_at", "answered_at", "answered_by"],
            [asdict(one) for one in questions],
        )
    return DONE


def _answer(options: Any) -> int:
    from tidegate.store import open_store

    stream, column = options.stream, options.column
    with open_store(store_endpoint(from_environment)) as store:
        if not options.accept and column in {one.column.name for one in _agreed(store, stream)}:
            raise ConfigError(
                f"{stream}: column {column!r} is read already. To leave it out of the store, "
                "name it in the cleaning step drop_columns."
            )
        by = f"{getpass.getuser()} (shell)"
        question = store.answer(stream, column, by, accept=options.accept, again=True)
        if question is None:
            raise _unknown(store, stream, column)
    if options.json:
        print(json.dumps(asdict(question), ensure_ascii=False))
    else:
        print(f"{stream}: {column}: {question.state}{_next(question)}")
    return DONE


def _next(question: Question) -> str:
    if question.state == "accepted":
        return "; the next run reads every row once more, with it"
    return "; it is left out for good, or until it is accepted here"


def _agreed(store: Store, stream: str) -> Sequence[Agreed]:
    found = store.agreement(stream)
    return found.columns if found else ()


def _unknown(store: Store, stream: str, column: str) -> ConfigError:
    asked = [one.column for one in store.questions(stream)]
    hint = did_you_mean(column, asked) or f" Asked about: {', '.join(asked) or 'none'}."
    return ConfigError(f"{stream}: nothing was asked about a column {column!r}.{hint}")

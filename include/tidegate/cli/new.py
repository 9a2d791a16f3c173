"""The command that begins a pipeline file: ``new``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tidegate import settings
from tidegate.cli.pipelines import unknown
from tidegate.cli.words import DONE, Add
from tidegate.connections import from_environment
from tidegate.errors import ConfigError
from tidegate.pipeline import blank
from tidegate.pipeline.kinds import Kind, kinds


def commands(add: Add) -> None:
    """Declare it."""
    new = add("new", _new, "write a commented pipeline file for a kind of source")
    new.add_argument("kind", metavar="KIND", help="sql, kafka, files …")
    new.add_argument(
        "source", metavar="SOURCE", nargs="?", help="write SOURCE.yaml; default: print"
    )
    new.add_argument("--connection", metavar="ID", help="fill it with what is found there")
    new.add_argument("--only", metavar="NAME", nargs="+", help="only these tables, topics, files")


def _new(options: Any) -> int:
    kind = _kind(options.kind)
    proposals = _proposals(kind, options.connection, options.only) if options.connection else []
    text = blank.text(kind, options.connection, proposals)
    if options.source is None:
        print(text, end="")
        return DONE
    path = (options.pipelines or settings.pipelines()) / f"{options.source}.yaml"
    _write(path, text)
    print(f"{path}: written. Go through it, then: tidegate check --connect {options.source}")
    return DONE


def _kind(name: str) -> Kind:
    known = {kind.name: kind for kind in kinds().values()}
    known_by_key = dict(kinds())
    if name not in known and name not in known_by_key:
        raise unknown("kind of source", name, sorted(known))
    return known.get(name) or known_by_key[name]


def _proposals(kind: Kind, connection: str, only: list[str] | None) -> list[Any]:
    endpoint = from_environment(connection)
    if endpoint.kind not in kind.connections:
        raise ConfigError(
            f"connection {connection!r} is of type {endpoint.kind!r}, but a source of kind "
            f"{kind.name} needs {' or '.join(kind.connections)}."
        )
    if kind.discover is None:
        return []
    found = list(kind.discover(endpoint))
    names = [one.name for one in found]
    for name in only or ():
        if name not in names:
            raise unknown(kind.reads, name, names)
    return [one for one in found if not only or one.name in only]


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{path}: there is such a file already. Nothing was written. Choose another name."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from error

"""Which kinds of sources there are, and which of them a stream is of.

A kind is one module (or package) of :mod:`tidegate.sources` with a :class:`Kind` called ``KIND``;
that is all it takes to be known to pipeline files, their schema, the documentation and the
contract suite. Packages elsewhere name theirs as entry points of the group ``tidegate.sources``.

A stream is of the kind whose ``reads`` key it has: ``table:``, ``topic:``, ``files:``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

from pydantic import create_model

from tidegate.errors import ConfigError
from tidegate.pipeline.models import Settings, Stream

GROUP = "tidegate.sources"
DEFAULT = "table"
"""Of which kind a stream is that says nothing of the sort."""


@dataclass(frozen=True)
class Proposal:
    """A stream that there could be, as the source's catalogue suggests it.

    says   what the pipeline file would say of it
    notes  by key, why it says so
    """

    name: str
    says: Mapping[str, Any]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One kind of source. Its module is imported while DAG files are parsed: keep it light.

    name         what the documentation calls it, like ``kafka``
    stream       what a stream of this kind may say
    settings     the part of it that ``defaults:`` may say, too
    connections  types of Airflow connections that lead to such a source
    open         ``(endpoint, stream, name)`` → :class:`tidegate.sources.Source`; it imports the
                 driver
    discover     ``(endpoint)`` → a :class:`Proposal` for each table, topic or file it finds; None:
                 nothing there can be listed
    watch        ``(endpoint)`` → a :class:`tidegate.sources.Lookout`; None: to know what is new,
                 one must read it. ``Stream.unwatchable`` has the last word on a single stream
    """

    name: str
    stream: type[Stream]
    settings: type[Settings]
    connections: tuple[str, ...]
    open: Callable[..., Any]
    discover: Callable[..., Iterable[Proposal]] | None = None
    watch: Callable[..., Any] | None = None

    @property
    def reads(self) -> str:
        """The key that a stream of this kind has."""
        return self.stream.reads


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind, by the key that says what is read. Raises ConfigError when one is broken."""
    package = import_module(GROUP)
    modules = [f"{GROUP}.{module.name}" for module in iter_modules(package.__path__)]
    modules += [point.value for point in entry_points(group=GROUP)]
    found = [kind for name in sorted(modules) if (kind := _kind(name)) is not None]
    known: dict[str, Kind] = {}
    for kind in found:
        if kind.reads in known:
            raise ConfigError(
                f"two kinds of sources read '{kind.reads}:': {known[kind.reads].name} and "
                f"{kind.name}. Rename the key of one."
            )
        known[kind.reads] = kind
    return known


def _kind(module: str) -> Kind | None:
    try:
        found = getattr(import_module(module), "KIND", None)
    except ImportError as error:
        raise ConfigError(
            f"the kind of source in {module} cannot be loaded: {error}. Install what it needs, or "
            "remove it."
        ) from error
    return found if isinstance(found, Kind) else None


def of(stream: Stream) -> Kind:
    """The kind of *stream*."""
    return kinds()[stream.reads]


def kind_of(data: Any) -> Kind:
    """The kind of a stream that is still raw data: by its key, else by most of what it says."""
    known = kinds()
    keys: Iterable[str] = data if isinstance(data, dict) else ()
    for key in keys:
        if key in known:
            return known[key]
    said = {str(key) for key in keys}
    return max(
        known.values(),
        key=lambda kind: (len(said & kind.stream.model_fields.keys()), kind.reads == DEFAULT),
    )


def defaults(used: Iterable[Kind]) -> type[Settings]:
    """What ``defaults:`` may say in a file whose streams are of these kinds."""
    said = {kind.settings for kind in used} or {Settings}
    bases = [one for one in said if not any(one in more.__mro__[1:] for more in said)]
    if len(bases) == 1:
        return bases[0]
    return create_model("Defaults", __base__=tuple(sorted(bases, key=lambda one: one.__name__)))

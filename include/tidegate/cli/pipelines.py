"""The pipeline files and streams that a command line names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidegate import settings
from tidegate.connections import from_environment
from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.job import Job
from tidegate.pipeline.reader import PipelineFile, read_all


def files(options: Any) -> list[PipelineFile]:
    """Every pipeline file of the folder in use."""
    folder = options.pipelines or settings.pipelines()
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Give one with --pipelines.")
    return read_all(folder)


def job(options: Any, name: str) -> Job:
    """The stream called *name*; raises ConfigError when there is none, or it is broken."""
    return _named(files(options), name)


def _named(found: Iterable[PipelineFile], name: str) -> Job:
    known = []
    for file in found:
        for stream, error in file.broken.items():
            if name in {f"{file.name}.{stream}", stream} or (
                file.source is None and name.startswith(f"{file.name}.")
            ):
                raise error
        for stream, spec in file.streams.items():
            if file.source is not None:
                known.append(f"{file.name}.{stream}")
                if known[-1] == name:
                    return Job(file.source, stream, spec, from_environment)
    raise unknown("stream", name, known)


def jobs(options: Any, names: Iterable[str]) -> list[Job]:
    """The streams that *names* name, each once; a source's name stands for all its streams.

    Raises ConfigError as :func:`job`, also for any broken stream of such a source.
    """
    known = files(options)
    sources = {file.name: file for file in known}
    found: dict[str, Job] = {}
    for name in names:
        file = sources.get(name)
        streams = [*file.broken, *file.streams] if file else []
        for full_name in [f"{name}.{stream}" for stream in streams] or [name]:
            found[full_name] = _named(known, full_name)
    return [*found.values()]


def unknown(what: str, name: str, known: list[str]) -> ConfigError:
    """The error for a name that nobody has."""
    hint = did_you_mean(name, known)
    return ConfigError(f"no {what} {name!r}.{hint} Known: {', '.join(known) or 'none'}")

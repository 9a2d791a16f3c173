"""Which streams say how long the store keeps what is over."""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.pipeline.models import Keep
from tidegate.pipeline.reader import PipelineFile

MOST_DAYS = 36_525
"""The largest age; see :func:`tidegate.fields.seconds`."""


def policies(files: Iterable[PipelineFile], days: int | None = None) -> dict[str, Keep]:
    """``source.stream`` → its ``keep:``, of the streams that have one and are not broken.

    *days* replaces the ages that are given, and gives none where there is none.
    """
    found: dict[str, Keep] = {}
    for file in files:
        for name, stream in file.streams.items():
            ages = {what: age for what, age in stream.keep if age is not None}
            if days is not None:
                ages = dict.fromkeys(ages, f"{days}d")
            if ages:
                found[f"{file.name}.{name}"] = Keep(**ages)
    return found

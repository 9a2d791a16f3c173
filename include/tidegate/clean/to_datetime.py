"""``to_datetime``: text (or wall-clock readings) as days, readings or instants."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from tidegate.clean.step import ColumnStep, empty_as_null, typed
from tidegate.errors import ConfigError
from tidegate.fields import Columns, ZoneName
from tidegate.types import TEMPORAL, Column, ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.moments import Readings
    from tidegate.clean.sheet import Sheet

_DIRECTIVES = re.compile(r"%(.)")
_KNOWN = frozenset("dmyYHIpMSfzbBaAj%")


class ToDatetime(ColumnStep):
    """Read dates and times by declared formats. What fits none of them holds its row.

    A time that a zone's clocks show twice, or never, holds its row too.
    """

    name: ClassVar[str] = "to_datetime"
    formats: Columns = Field(("iso",), description="iso, or strptime patterns, tried in order")
    zone: ZoneName | None = Field(None, description="zone of values that do not name one")
    type: Literal["timestamp", "datetime", "date"] = "timestamp"
    empty: Literal["hold", "null"] = Field("hold", description="what '' becomes")

    @field_validator("formats")
    @classmethod
    def _make_a_day(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        for text in formats:
            if text != "iso":
                _check_pattern(text)
        return formats

    @model_validator(mode="after")
    def _zone_is_known(self) -> Self:
        bare = [text for text in self.formats if text != "iso" and "%z" not in text]
        if self.type == "timestamp" and self.zone is None and bare:
            raise ValueError(
                f"format {bare[0]!r} names no time zone (%z), and zone is not set. "
                "Set zone, like Europe/Berlin, or type: datetime"
            )
        return self

    @override
    def after(self, column: Column) -> Column:
        if column.type.name != "string" and column.type.name not in TEMPORAL:
            raise self.wrong_type(column, "string, date, datetime and timestamp columns")
        if self.zone is None:
            self._check_zone(column)
        return typed(column, ColumnType(self.type))

    def _check_zone(self, column: Column) -> None:
        was, becomes = column.type.name, self.type
        if was != "string" and (was == "timestamp") != (becomes == "timestamp"):
            raise ConfigError(
                f"{self.name}: from {was} to {becomes} needs a time zone (column "
                f"{column.name!r}). Set zone, like Europe/Berlin."
            )

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        from tidegate.clean.casting import readings_of
        from tidegate.clean.moments import settle
        from tidegate.clean.sheet import valid

        values, source = sheet.read(name), sheet.type(name)
        if source.name == "string":
            values = empty_as_null(values, self.empty)
            readings = self._read(values)
        else:
            readings = readings_of(values, source)
        failed = valid(values) & ~readings.found()
        sheet.hold(name, failed, f"fits no format of {', '.join(self.formats)}")
        values, faults = settle(readings, self.zone, self.type)
        for mask, fault in faults:
            sheet.hold(name, mask, fault)
            failed = failed | mask
        nothing = failed & False
        sheet.convert(name, values, nothing, ColumnType(self.type), "")

    def _read(self, texts: pa.Array) -> Readings:
        from tidegate.clean.moments import parse_iso, parse_pattern
        from tidegate.clean.vector import blank

        readings: Readings | None = None
        for format in self.formats:
            rest = texts if readings is None else blank(texts, readings.found())
            found = parse_iso(rest)[0] if format == "iso" else parse_pattern(rest, format)
            readings = found if readings is None else readings.otherwise(found)
        if readings is None:  # the model demands at least one format
            raise ConfigError(f"{self.name}: no formats")
        return readings


def _check_pattern(text: str) -> None:
    used = set(_DIRECTIVES.findall(text))
    if used - _KNOWN or (text.endswith("%") and not text.endswith("%%")):
        unknown = ", ".join(f"%{letter}" for letter in sorted(used - _KNOWN)) or "%"
        raise ValueError(f"{text!r}: {unknown} is not known. Write iso, or like %d.%m.%Y %H:%M")
    year, month = used & {"Y", "y"}, used & {"m", "b", "B"}
    if not (year and ((month and "d" in used) or "j" in used)):
        raise ValueError(f"{text!r} does not give a day. Name year, month and day: %Y-%m-%d")
    try:
        datetime.strptime("", text)  # noqa: DTZ007 – only whether the pattern is one
    except ValueError as error:
        if "does not match format" not in str(error):
            raise ValueError(f"{text!r}: {error}") from error

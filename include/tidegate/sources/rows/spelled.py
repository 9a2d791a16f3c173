"""A column of texts that spell values → an Arrow array, without a Python object for each cell.

What Arrow reads here is what :mod:`.fitting` reads, cell by cell: each type has a form in which the
two agree, and a column with one cell of another form is not read at all.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.sources.rows.fitting import Spec

_DAY, _CLOCK = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?"
_ZONE = r"(Z|[+-]\d\d:\d\d)"
_FORMS = {
    "bool": r"^(?i:t|f|true|false|0|1)$",
    "int16": r"^-?[0-9]{1,18}$", "int32": r"^-?[0-9]{1,18}$", "int64": r"^-?[0-9]{1,18}$",
    "decimal": r"^-?[0-9]{1,76}(\.[0-9]{1,76})?$",
    "numeric": r"^(0|-?([1-9][0-9]{0,99}(\.[0-9]{0,99}[1-9])?|0\.[0-9]{0,99}[1-9]))$",
    "float64": r"^-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?$",
    "date": f"^{_DAY}$",
    "time": f"^{_CLOCK}$",
    "datetime": f"^{_DAY}([T ]{_CLOCK})?$",
    "timestamp": f"^{_DAY}([T ]{_CLOCK}{_ZONE}?)?$",
}  # fmt: skip
_TRUE = ("t", "true", "1")
_FIRST, _LAST = datetime(1, 1, 1), datetime.max  # noqa: DTZ001, DTZ901 - no zone


def read(texts: pa.Array, spec: Spec) -> pa.Array | None:
    """*texts* (string) as the type of *spec*, a loose one; None when a cell needs a closer look.

    Raises ArrowInvalid for a cell that has the form, and is no value.
    """
    name, kind = spec.type.name, spec.type.arrow
    if name == "string":
        return texts
    if name not in _FORMS or not _all(texts, _FORMS[name]):
        return None
    if name == "bool":
        found = pc.is_in(pc.ascii_lower(texts), pa.array(_TRUE))
        return pc.if_else(texts.is_valid(), found, pa.scalar(None, pa.bool_()))
    if name == "time":  # Arrow reads none by itself
        moments = pc.binary_join_element_wise("1970-01-01", texts, " ")
        return moments.cast(pa.timestamp("us")).cast(kind)
    if name == "timestamp":
        return _instants(texts, spec.zone)
    return texts.cast(kind)


def _instants(texts: pa.Array, zone: tzinfo) -> pa.Array | None:
    """All with their offset, or all without one where that means UTC."""
    kind = pa.timestamp("us", tz="UTC")
    zoned = pc.match_substring_regex(texts, f"{_ZONE}$")
    if pc.all(zoned).as_py() is not False:
        return texts.cast(kind)
    if is_utc(zone) and not pc.any(zoned).as_py():
        return texts.cast(pa.timestamp("us")).cast(kind)
    return None


def is_utc(zone: tzinfo) -> bool:
    """Whether readings without an offset are those of UTC there."""
    return zone is UTC or str(zone) == "UTC"


def in_calendar(moments: pa.Array) -> bool:
    """Whether Python knows these days, too, if they are days: its years are 1 to 9999."""
    kind = moments.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return True
    bounds = (_FIRST, _LAST) if pa.types.is_timestamp(kind) else (date.min, date.max)
    plain = moments.cast(pa.timestamp("us")) if pa.types.is_timestamp(kind) else moments
    first, last = (pa.scalar(bound, plain.type) for bound in bounds)
    inside = pc.and_(pc.greater_equal(plain, first), pc.less_equal(plain, last))
    return pc.all(inside).as_py() is not False


def _all(texts: pa.Array, form: str) -> bool:
    return pc.all(pc.match_substring_regex(texts, form)).as_py() is not False

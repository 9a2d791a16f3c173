"""From one declared type to another, exactly: what does not fit is reported, never rounded away."""

from __future__ import annotations

import json
from datetime import time
from typing import TYPE_CHECKING

from tidegate.clean.constants import canonical
from tidegate.clean.moments import Readings, parse_iso, settle
from tidegate.clean.numbers import parse_number
from tidegate.clean.vector import attempt, blank, each
from tidegate.types import NUMBERS, TEMPORAL, ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.vector import Mask

WHOLE = frozenset({"int16", "int32", "int64"})
TRUE = ("true", "t", "yes", "y", "on", "1")
FALSE = ("false", "f", "no", "n", "off", "0")


def castable(source: ColumnType, target: ColumnType) -> bool:
    """Whether :func:`cast` knows the way. Zones make some ways a decision: see to_datetime."""
    pair = (source.name, target.name)
    return (
        source == target
        or "string" in pair
        or (source.name in NUMBERS and target.name in NUMBERS)
        or (source.name == "bool" and target.name in WHOLE)
        or (source.name in WHOLE and target.name == "bool")
        or pair in (("date", "datetime"), ("datetime", "date"))
    )


def cast(values: pa.Array, source: ColumnType, target: ColumnType) -> tuple[pa.Array, Mask]:
    """*values* as *target*, and which of them failed (they are NULL in the result)."""
    import numpy as np
    import pyarrow as pa

    if source == target:
        return values, np.zeros(len(values), dtype=bool)
    if target.name == "string":
        return to_text(values, source)
    if source.name == "string":
        return _parse(values, target)
    if source.name in NUMBERS and target.name in NUMBERS:
        return _number(values, source, target)
    if target.name == "bool":
        return each(values, _zero_or_one, pa.bool_())
    return attempt(lambda array: array.cast(target.arrow), (values,), target.arrow)


def to_text(values: pa.Array, source: ColumnType) -> tuple[pa.Array, Mask]:
    """Values as text: ISO for times, shortest digits for floats, UTF-8 for bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if source.name in ("datetime", "timestamp"):
        texts = values.cast(pa.timestamp("us")).cast(pa.string())
        texts = pc.replace_substring(texts, " ", "T")
        if source.name == "timestamp":
            texts = pc.binary_join_element_wise(texts, "Z", "")
        return attempt(lambda array: array, (texts,), pa.string())
    texts, failed = attempt(lambda array: array.cast(pa.string()), (values,), pa.string())
    if source.name == "bytes":  # text with a NUL character is none: PostgreSQL refuses it
        nul = pc.fill_null(pc.match_substring(texts, "\0"), False).to_numpy(zero_copy_only=False)
        return blank(texts, nul), failed | nul
    return texts, failed


def parse_words(
    texts: pa.Array, true: tuple[str, ...], false: tuple[str, ...]
) -> tuple[pa.Array, Mask]:
    """Words as bool, whatever their case."""
    import pyarrow as pa
    import pyarrow.compute as pc

    words = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    is_true = pc.is_in(words, value_set=pa.array([word.lower() for word in true]))
    is_false = pc.is_in(words, value_set=pa.array([word.lower() for word in false]))
    known = pc.or_(is_true, is_false)
    failed = pc.and_(texts.is_valid(), pc.invert(known))
    result = pc.if_else(known, is_true, pa.scalar(None, pa.bool_()))
    return result, failed.to_numpy(zero_copy_only=False)


def _parse(texts: pa.Array, target: ColumnType) -> tuple[pa.Array, Mask]:
    import pyarrow as pa

    if target.name in NUMBERS:
        return parse_number(texts, target)
    if target.name == "bool":
        return parse_words(texts, TRUE, FALSE)
    if target.name in TEMPORAL:
        readings, failed = parse_iso(texts)
        values, faults = settle(readings, None, target.name)
        for mask, _ in faults:
            failed = failed | mask
        return values, failed
    if target.name == "time":
        return each(texts, _time, target.arrow)
    if target.name == "json":
        return each(texts, _json, pa.string())
    return attempt(lambda array: array.cast(target.arrow), (texts,), target.arrow)


def _number(values: pa.Array, source: ColumnType, target: ColumnType) -> tuple[pa.Array, Mask]:
    import pyarrow as pa

    if target.name == "numeric":
        return each(values.cast(pa.string()), canonical, pa.string())
    if source.name == "numeric" or (target.name == "decimal" and source.name != "decimal"):
        return parse_number(values.cast(pa.string()), target)
    return attempt(lambda array: array.cast(target.arrow), (values,), target.arrow)


def _zero_or_one(value: int) -> bool:
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _time(text: str) -> time:
    value = time.fromisoformat(text.strip())
    if value.tzinfo is not None:
        raise ValueError
    return value


def _json(text: str) -> str:
    json.loads(text)
    return text


def readings_of(values: pa.Array, source: ColumnType) -> Readings:
    """Temporal *values* as readings with or without a zone."""
    import pyarrow as pa

    naive, zoned = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
    if source.name == "timestamp":
        return Readings(pa.nulls(len(values), naive), values)
    return Readings(values.cast(naive), pa.nulls(len(values), zoned))

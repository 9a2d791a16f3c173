"""Whole arrays first, single values only where the whole failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Mask: TypeAlias = npt.NDArray[np.bool_]


def attempt(
    function: Callable[..., pa.Array], arrays: tuple[pa.Array, ...], kind: pa.DataType
) -> tuple[pa.Array, Mask]:
    """*function* of *arrays*; where it raises, halve until only failing rows remain, as NULLs."""
    import numpy as np
    import pyarrow as pa

    rows = len(arrays[0])
    try:
        return function(*arrays), np.zeros(rows, dtype=bool)
    except pa.ArrowInvalid:
        if rows <= 1:
            return pa.nulls(rows, kind), np.ones(rows, dtype=bool)
    half = rows // 2
    left, left_failed = attempt(function, tuple(array[:half] for array in arrays), kind)
    right, right_failed = attempt(function, tuple(array[half:] for array in arrays), kind)
    whole = pa.concat_arrays([left.cast(kind), right.cast(kind)])
    return whole, np.concatenate([left_failed, right_failed])


def each(
    values: pa.Array, function: Callable[[Any], Any], kind: pa.DataType
) -> tuple[pa.Array, Mask]:
    """*function* of every distinct value; one that raises ValueError or ArithmeticError fails."""
    import pyarrow as pa

    encoded = values.dictionary_encode()
    results, bad = [], []
    for value in encoded.dictionary.to_pylist():
        try:
            results.append(None if value is None else function(value))
            bad.append(False)
        except (ValueError, ArithmeticError):
            results.append(None)
            bad.append(True)
    found = pa.array(results, kind).take(encoded.indices)
    failed = pa.array(bad, pa.bool_()).take(encoded.indices).fill_null(False)
    return found, failed.to_numpy(zero_copy_only=False)


def blank(values: pa.Array, mask: Mask) -> pa.Array:
    """*values* with NULL where *mask* is true."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pa.array(mask), pa.scalar(None, values.type), values)


def matches(texts: pa.Array, pattern: str) -> Mask:
    """True where *pattern* (RE2) matches; false for NULL."""
    import pyarrow.compute as pc

    found = pc.match_substring_regex(texts, pattern).fill_null(False)
    mask: Mask = found.to_numpy(zero_copy_only=False)
    return mask

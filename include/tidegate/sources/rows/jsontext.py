"""JSON text, exactly: numbers keep their digits on the way in and out."""

from __future__ import annotations

import json
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

DEPTH = 200
"""More nesting than anybody means."""


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


class _Exact(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(parse_float=Decimal, parse_constant=_refuse)


_DECODER = _Exact()


def loads(text: str | bytes) -> Any:
    """The value of *text*; numbers with a point are Decimals. Raises ValueError.

    NaN and Infinity, which are no JSON, are refused; so is nesting beyond :data:`DEPTH`.
    """
    try:
        if isinstance(text, bytes) and text[:1] == b"{" and text[1:2] != b"\0":  # no UTF-16
            text = text.decode("utf-8", "surrogatepass")
        if isinstance(text, str) and not text.startswith("\ufeff"):
            return _DECODER.decode(text)
        return json.loads(text, cls=_Exact)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ArithmeticError:
        raise ValueError("a number in it is beyond all bounds") from None


def dumps(value: Any) -> str:
    """The text of what :func:`loads` gives; members in their order. Raises ValueError."""
    return "".join(_pieces(value, 0))


def _pieces(value: Any, depth: int) -> list[str]:
    if depth > DEPTH:
        raise ValueError("it is nested too deep")
    if isinstance(value, dict):
        found = ["{"]
        for name, item in value.items():
            comma = ", " if len(found) > 1 else ""
            found += [comma, encode_basestring(str(name)), ": ", *_pieces(item, depth + 1)]
        return [*found, "}"]
    if isinstance(value, list | tuple):
        found = ["["]
        for item in value:
            found += [", " if len(found) > 1 else "", *_pieces(item, depth + 1)]
        return [*found, "]"]
    if isinstance(value, str):
        return [encode_basestring(value)]
    if isinstance(value, Decimal) and value.is_finite():
        return [str(value)]
    return [json.dumps(value, allow_nan=False)]

"""The functions an expression may call. There are no others, and none reaches outside the row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tidegate.clean.casting import to_text
from tidegate.clean.logic import choose, coalesce
from tidegate.clean.nodes import (
    BOOL,
    EXACT,
    FLOAT,
    NULL,
    NUMERIC,
    TEMPORAL,
    TEXT,
    WHOLE,
    Node,
    Rows,
    Vector,
    joint,
    settled,
    type_of,
)
from tidegate.clean.vector import attempt


class UnfitError(ValueError):
    """Arguments a function cannot work with; the message says which would fit."""


def _each_row(node: Node, kind: str, function: Callable[[Any], Any]) -> Node:
    """A node that applies an Arrow *function* to *node*; rows it raises for fail."""

    def run(rows: Rows) -> Vector:
        vector = node.run(rows)
        target = vector.values.type if kind == node.kind else type_of(kind).arrow
        values, failed = attempt(
            lambda array: function(array).cast(target), (vector.values,), target
        )
        return settled(values, failed | vector.failed)

    return Node(kind, run)


def _need(node: Node, kinds: frozenset[str], wanted: str) -> None:
    if node.kind not in kinds:
        raise UnfitError(f"takes {wanted}, not {node.kind}")


def _whole(node: Node, wanted: str, least: int, most: int) -> int:
    value = node.constant if node.is_constant else None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UnfitError(f"takes {wanted}, a whole number from {least} to {most}")
    return value


def _concat(nodes: list[Node]) -> Node:
    for node in nodes:
        _need(node, frozenset({TEXT}), "texts (text(x) makes one)")

    def run(rows: Rows) -> Vector:
        import functools
        import operator

        import pyarrow.compute as pc

        vectors = [node.run(rows) for node in nodes]
        values = pc.binary_join_element_wise(*[vector.values for vector in vectors], "")
        return settled(values, functools.reduce(operator.or_, [v.failed for v in vectors]))

    return Node(TEXT, run)


def _coalesce(nodes: list[Node]) -> Node:
    kind = joint([node.kind for node in nodes])
    if kind is None or kind == NULL:
        raise UnfitError(f"takes values of one kind, not {', '.join(n.kind for n in nodes)}")
    return coalesce(nodes, kind)


def _if_else(nodes: list[Node]) -> Node:
    condition, yes, no = nodes
    _need(condition, frozenset({BOOL}), "a condition first")
    kind = joint([yes.kind, no.kind])
    if kind is None or kind == NULL:
        raise UnfitError(f"takes two values of one kind, not {yes.kind} and {no.kind}")
    return choose(condition, yes, no, kind)


def _text(nodes: list[Node]) -> Node:
    kind = nodes[0].kind
    if kind in (EXACT, WHOLE, TEXT, FLOAT, BOOL, *TEMPORAL):
        return _each_row(nodes[0], TEXT, lambda array: to_text(array, type_of(kind))[0])
    raise UnfitError(f"takes numbers, texts, conditions and times, not {nodes[0].kind}")


def _textual(name: str, kind: str) -> Callable[[list[Node]], Node]:
    def build(nodes: list[Node]) -> Node:
        import pyarrow.compute as pc

        _need(nodes[0], frozenset({TEXT}), "a text")
        return _each_row(nodes[0], kind, getattr(pc, name))

    return build


def _substring(nodes: list[Node]) -> Node:
    _need(nodes[0], frozenset({TEXT}), "a text")
    start = _whole(nodes[1], "the first character's number", 1, 1_000_000)
    end = start - 1 + _whole(nodes[2], "a length", 0, 1_000_000) if len(nodes) > 2 else None

    def cut(array: Any) -> Any:
        import pyarrow.compute as pc

        return pc.utf8_slice_codeunits(array, start=start - 1, stop=end)

    return _each_row(nodes[0], TEXT, cut)


def _round(nodes: list[Node]) -> Node:
    _need(nodes[0], NUMERIC, "a number")
    places = _whole(nodes[1], "decimal places", -18, 37) if len(nodes) > 1 else 0

    def cut(array: Any) -> Any:
        import pyarrow.compute as pc

        if nodes[0].kind == EXACT and places >= array.type.scale:
            return array
        return pc.round(array, ndigits=places, round_mode="half_towards_infinity")

    return (
        nodes[0]
        if nodes[0].kind == WHOLE and places >= 0
        else _each_row(nodes[0], nodes[0].kind, cut)
    )


def _abs(nodes: list[Node]) -> Node:
    import pyarrow.compute as pc

    _need(nodes[0], NUMERIC, "a number")
    return _each_row(nodes[0], nodes[0].kind, pc.abs_checked)


def _part(name: str, kinds: frozenset[str]) -> Callable[[list[Node]], Node]:
    def build(nodes: list[Node]) -> Node:
        import pyarrow as pa
        import pyarrow.compute as pc

        _need(nodes[0], kinds, f"a {' or '.join(sorted(kinds))} (timestamps are read in UTC)")
        naive = pa.timestamp("us")
        return _each_row(nodes[0], WHOLE, lambda array: getattr(pc, name)(array.cast(naive)))

    return build


def _date(nodes: list[Node]) -> Node:
    import pyarrow as pa

    _need(nodes[0], TEMPORAL, "a date, datetime or timestamp (read in UTC)")
    if nodes[0].kind == "date":
        return nodes[0]
    return _each_row(
        nodes[0], "date", lambda array: array.cast(pa.timestamp("us")).cast(pa.date32())
    )


FUNCTIONS: dict[str, tuple[int, int, Callable[[list[Node]], Node]]] = {
    "abs": (1, 1, _abs),
    "coalesce": (2, 20, _coalesce),
    "concat": (2, 20, _concat),
    "date": (1, 1, _date),
    "day": (1, 1, _part("day", TEMPORAL)),
    "hour": (1, 1, _part("hour", TEMPORAL - {"date"})),
    "if_else": (3, 3, _if_else),
    "length": (1, 1, _textual("utf8_length", WHOLE)),
    "lower": (1, 1, _textual("utf8_lower", TEXT)),
    "month": (1, 1, _part("month", TEMPORAL)),
    "round": (1, 2, _round),
    "substring": (2, 3, _substring),
    "text": (1, 1, _text),
    "trim": (1, 1, _textual("utf8_trim_whitespace", TEXT)),
    "upper": (1, 1, _textual("utf8_upper", TEXT)),
    "year": (1, 1, _part("year", TEMPORAL)),
}
"""Name → least and most arguments, and what builds the node."""

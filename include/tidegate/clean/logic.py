"""Comparisons and three-valued logic of expressions. NULL compares to NULL, as in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.clean.nodes import (
    BOOL,
    EXACT,
    FLOAT,
    Node,
    Rows,
    Vector,
    as_kind,
    joint,
    same_scale,
    settled,
)

if TYPE_CHECKING:
    from tidegate.clean.vector import Mask

_ARROW = {
    "==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal",
    ">": "greater", ">=": "greater_equal",
}  # fmt: skip


def compare(sign: str, left: Node, right: Node) -> Node:
    """``left sign right`` for two values of kinds that compare."""
    kind = joint([left.kind, right.kind])

    def run(rows: Rows) -> Vector:
        import pyarrow.compute as pc

        a, b = left.run(rows), right.run(rows)
        if kind == FLOAT:
            a, b = as_kind(a, FLOAT), as_kind(b, FLOAT)
        if kind == EXACT:
            a, b = same_scale([a, b], precision=76)
        result = getattr(pc, _ARROW[sign])(a.values, b.values)
        return settled(result, a.failed | b.failed)

    return Node(BOOL, run)


def is_null(node: Node, wanted: bool) -> Node:
    """``node is None`` or ``node is not None``."""

    def run(rows: Rows) -> Vector:
        import pyarrow.compute as pc

        vector = node.run(rows)
        result = pc.is_null(vector.values)
        return settled(result if wanted else pc.invert(result), vector.failed)

    return Node(BOOL, run)


def negation(node: Node) -> Node:
    """Build ``not node``."""

    def run(rows: Rows) -> Vector:
        import pyarrow.compute as pc

        vector = node.run(rows)
        return Vector(pc.invert(vector.values), vector.failed)

    return Node(BOOL, run)


def connect(word: str, left: Node, right: Node) -> Node:
    """``and``, ``or``: where the left side decides, a failure of the right does not matter."""

    def run(rows: Rows) -> Vector:
        import pyarrow.compute as pc

        a, b = left.run(rows), right.run(rows)
        function = pc.and_kleene if word == "and" else pc.or_kleene
        decided = a.values if word == "or" else pc.invert(a.values)
        open_: Mask = ~decided.fill_null(False).to_numpy(zero_copy_only=False)
        return settled(function(a.values, b.values), a.failed | (b.failed & open_))

    return Node(BOOL, run)


def choose(condition: Node, yes: Node, no: Node, kind: str) -> Node:
    """``if_else(condition, yes, no)``: NULL counts as no; only the chosen side can fail."""

    def run(rows: Rows) -> Vector:
        import numpy as np
        import pyarrow.compute as pc

        test = condition.run(rows)
        a, b = _alike([as_kind(yes.run(rows), kind), as_kind(no.run(rows), kind)], kind)
        chosen = test.values.fill_null(False)
        side = chosen.to_numpy(zero_copy_only=False)
        failed = test.failed | np.where(side, a.failed, b.failed)
        return settled(pc.if_else(chosen, a.values, b.values), failed)

    return Node(kind, run)


def coalesce(nodes: list[Node], kind: str) -> Node:
    """The first that is not NULL; what comes after it cannot fail."""

    def run(rows: Rows) -> Vector:
        import numpy as np
        import pyarrow.compute as pc

        vectors = _alike([as_kind(node.run(rows), kind) for node in nodes], kind)
        still_open = np.ones(rows.count, dtype=bool)
        failed = np.zeros(rows.count, dtype=bool)
        for vector in vectors:
            failed |= vector.failed & still_open
            still_open &= vector.values.is_null().to_numpy(zero_copy_only=False) & ~failed
        return settled(pc.coalesce(*[vector.values for vector in vectors]), failed)

    return Node(kind, run)


def _alike(vectors: list[Vector], kind: str) -> list[Vector]:
    return same_scale(vectors, precision=76) if kind == EXACT else vectors

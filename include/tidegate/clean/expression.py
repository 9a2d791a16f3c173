"""Reads a ``derive`` expression: Python's grammar, a small language, nothing is ever executed.

The text is parsed to a syntax tree, and each part of it must be one of those handled below: column
names, constants, arithmetic, comparisons, ``and or not``, ``in (…)``, ``is None`` and the calls in
:data:`FUNCTIONS`. Everything else is an error, found before any row is read.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from decimal import Decimal
from functools import reduce

from tidegate.clean.arithmetic import arithmetic, negate
from tidegate.clean.constants import constant
from tidegate.clean.functions import FUNCTIONS, UnfitError
from tidegate.clean.logic import compare, connect, is_null, negation
from tidegate.clean.nodes import (
    BOOL,
    EXACT,
    NULL,
    NUMERIC,
    TEMPORAL,
    TEXT,
    WHOLE,
    Node,
    column,
    joint,
    literal,
)
from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.types import Column, ColumnType

_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_DEEPEST = 40


class Expression:
    """*text* understood over *columns*: :attr:`node` computes it. Raises ConfigError."""

    def __init__(self, text: str, columns: Sequence[Column]) -> None:
        self.text = text
        self.columns = {each.name: each for each in columns}
        self.used: list[str] = []
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            detail = error.msg if isinstance(error, SyntaxError) else "it is too deep"
            raise self._wrong(f"not an expression: {detail}") from error
        self.node = self._read(tree.body, _DEEPEST)

    def _wrong(self, problem: str) -> ConfigError:
        text = self.text if len(self.text) <= 120 else self.text[:117] + "..."
        return ConfigError(f"derive: {text!r}: {problem}")

    def _read(self, part: ast.expr, depth: int) -> Node:
        if depth == 0:
            raise self._wrong("nested too deeply. Split it into several derive steps.")
        deeper = depth - 1
        match part:
            case ast.Name(id=name):
                node = self._column(name)
            case ast.Constant():
                node = self._constant(part)
            case ast.BinOp(left=left, op=op, right=right):
                node = self._arithmetic(op, self._read(left, deeper), self._read(right, deeper))
            case ast.UnaryOp(op=op, operand=operand):
                node = self._unary(op, self._read(operand, deeper))
            case ast.BoolOp(op=op, values=values):
                node = self._connect(op, [self._read(value, deeper) for value in values])
            case ast.Compare():
                node = self._compare(part, deeper)
            case ast.Call():
                node = self._call(part, deeper)
            case _:
                raise self._wrong(f"{_shown(part)} is not allowed. {_ALLOWED}")
        return node

    def _column(self, name: str) -> Node:
        if name not in self.columns:
            hint = did_you_mean(name, [*self.columns, *FUNCTIONS])
            raise self._wrong(f"no column {name!r}.{hint} Columns: {', '.join(self.columns)}")
        if name not in self.used:
            self.used.append(name)
        return column(name, self.columns[name].type)

    def _constant(self, part: ast.Constant) -> Node:
        value = part.value
        if value is None:
            return literal(None, NULL)
        if isinstance(value, bool):
            return literal(value, BOOL)
        if isinstance(value, str):
            return literal(value, TEXT)
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return literal(value, WHOLE)
        if isinstance(value, float):
            written = ast.get_source_segment(self.text.strip(), part) or repr(value)
            number = Decimal(written)
            if number.is_finite() and _exponent(number) >= -37 and number.adjusted() < 38:
                return literal(Decimal(format(number, "f")), EXACT)
        raise self._wrong(f"{_shown(part)} is not a constant it can hold.")

    def _arithmetic(self, op: ast.operator, left: Node, right: Node) -> Node:
        sign = _ARITHMETIC.get(type(op))
        if sign is None:
            raise self._wrong(f"operator {type(op).__name__} is not allowed. {_ALLOWED}")
        for node in (left, right):
            if node.kind not in NUMERIC:
                hint = " concat(a, b) joins texts." if node.kind == TEXT and sign == "+" else ""
                raise self._wrong(f"{sign!r} takes numbers, not {node.kind}.{hint}")
        return arithmetic(sign, left, right)

    def _unary(self, op: ast.unaryop, node: Node) -> Node:
        if isinstance(op, ast.Not):
            return negation(self._condition(node, "not"))
        if isinstance(op, ast.USub | ast.UAdd) and node.kind in NUMERIC:
            return negate(node) if isinstance(op, ast.USub) else node
        raise self._wrong(f"{type(op).__name__} does not work on {node.kind}. {_ALLOWED}")

    def _condition(self, node: Node, word: str) -> Node:
        if node.kind != BOOL:
            raise self._wrong(f"{word!r} takes conditions (true or false), not {node.kind}.")
        return node

    def _connect(self, op: ast.boolop, nodes: list[Node]) -> Node:
        word = "and" if isinstance(op, ast.And) else "or"
        conditions = [self._condition(node, word) for node in nodes]
        return reduce(lambda left, right: connect(word, left, right), conditions)

    def _compare(self, part: ast.Compare, depth: int) -> Node:
        if len(part.ops) > 1:
            raise self._wrong("write 'a < b and b < c' instead of 'a < b < c'.")
        op, right = part.ops[0], part.comparators[0]
        node = self._read(part.left, depth)
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List) or not right.elts:
                raise self._wrong("'in' takes a list in brackets: status in ('new', 'paid').")
            tests = [self._pair("==", node, self._read(each, depth)) for each in right.elts]
            found = reduce(lambda a, b: connect("or", a, b), tests)
            return negation(found) if isinstance(op, ast.NotIn) else found
        other = self._read(right, depth)
        if isinstance(op, ast.Is | ast.IsNot):
            if other.kind != NULL:
                raise self._wrong("'is' takes None only. Use == for values.")
            return is_null(node, wanted=isinstance(op, ast.Is))
        return self._pair(_COMPARE[type(op)], node, other)

    def _pair(self, sign: str, left: Node, right: Node) -> Node:
        if NULL in (left.kind, right.kind):
            raise self._wrong("NULL equals nothing. Write 'x is None' or 'x is not None'.")
        left, right = self._temporal(left, right), self._temporal(right, left)
        kind = joint([left.kind, right.kind])
        if kind is None or (kind == BOOL and sign not in ("==", "!=")):
            raise self._wrong(f"{sign!r} cannot compare {left.kind} with {right.kind}.")
        return compare(sign, left, right)

    def _temporal(self, node: Node, other: Node) -> Node:
        """A text constant compared with a time is a time."""
        if not (node.is_constant and node.kind == TEXT and other.kind in TEMPORAL | {"time"}):
            return node
        try:
            return literal(constant(node.constant, ColumnType(other.kind)), other.kind)
        except ValueError as error:
            raise self._wrong(str(error)) from error

    def _call(self, part: ast.Call, depth: int) -> Node:
        if not isinstance(part.func, ast.Name) or part.keywords:
            raise self._wrong(f"{_shown(part)} is not allowed. {_ALLOWED}")
        name = part.func.id
        if name == "column" and len(part.args) == 1 and isinstance(part.args[0], ast.Constant):
            return self._column(str(part.args[0].value))
        if name not in FUNCTIONS:
            raise self._wrong(
                f"no function {name!r}.{did_you_mean(name, FUNCTIONS)} "
                f"Functions: {', '.join(FUNCTIONS)}"
            )
        least, most, build = FUNCTIONS[name]
        if not least <= len(part.args) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self._wrong(f"{name} takes {wanted} arguments, not {len(part.args)}.")
        nodes = [self._read(argument, depth) for argument in part.args]
        try:
            return build(nodes)
        except UnfitError as error:
            raise self._wrong(f"{name} {error}.") from error


_ALLOWED = (
    "Allowed: columns, constants, + - * / // %, comparisons, and, or, not, in, is None, and "
    f"the functions {', '.join(FUNCTIONS)}."
)


def _exponent(number: Decimal) -> int:
    return int(number.as_tuple().exponent)


def _shown(part: ast.expr) -> str:
    try:
        text = ast.unparse(part)
    except (RecursionError, ValueError):
        text = type(part).__name__
    return repr(text if len(text) <= 60 else text[:57] + "...")

"""Derived columns: exact, row by row, and nothing but the small language is ever run."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clean.pages import Cells, clean, columns, steps
from tidegate.clean import outline
from tidegate.errors import ConfigError

CELLS: Cells = {
    "qty": ("int64", [3]),
    "price": ("decimal(12,2)", [Decimal("19.99")]),
    "weight": ("float64", [0.5]),
    "code": ("string", ["  Ab-12 "]),
    "paid": ("bool", [True]),
    "day": ("date", [date(2024, 2, 29)]),
    "at": ("timestamp", [datetime(2024, 2, 29, 23, 5, 0, 7, UTC)]),
    "big": ("numeric", ["123456789012345678901234567890.25"]),
    "none": ("int64", [None]),
    "Unit Price": ("decimal(12,2)", [Decimal("1.10")]),
}


def compute(expression: str, type: str, cells: Cells = CELLS) -> Any:
    item = {"derive": {"column": "result", "expression": expression, "type": type}}
    return clean(item, cells=cells)


@pytest.mark.parametrize(
    ("expression", "type", "wanted"),
    [
        ("qty * price", "decimal(14,2)", Decimal("59.97")),
        ("qty * price * 1.19", "decimal(20,4)", Decimal("71.3643")),
        ("price - 0.01", "decimal(12,2)", Decimal("19.98")),
        ("-qty + 2 * 4", "int64", 5),
        ("qty / 4", "decimal(10,2)", Decimal("0.75")),
        ("round(price / qty, 2)", "decimal(10,2)", Decimal("6.66")),
        ("round(-2.5)", "int64", -3),
        ("round(0.125, 2)", "decimal(5,2)", Decimal("0.13")),
        ("-7 // 2", "int64", -4),
        ("-7 % 3", "int64", 2),
        ("price % 5", "decimal(12,2)", Decimal("4.99")),
        ("price // 5", "int64", 3),
        ("weight * 2 + qty", "float64", 4.0),
        ("big + 0.75", "numeric", "123456789012345678901234567891"),
        ("big * 2", "decimal(50,2)", Decimal("246913578024691357802469135780.50")),
        ("abs(1 - qty)", "int64", 2),
        ("concat(upper(trim(code)), '/', text(qty))", "string", "AB-12/3"),
        ("lower(substring(trim(code), 4, 2))", "string", "12"),
        ("length(code)", "int64", 8),
        ("coalesce(none, qty)", "int64", 3),
        ("if_else(none > 1, 'many', 'few')", "string", "few"),
        ("if_else(price >= 10 and not paid, 1, None)", "int16", None),
        ("year(day) * 10000 + month(day) * 100 + day(day)", "int64", 20240229),
        ("hour(at)", "int64", 23),
        ("date(at)", "date", date(2024, 2, 29)),
        ("day == '2024-02-29' or none == 1", "bool", True),
        ("at < '2024-03-01T00:00:00Z'", "bool", True),
        ("none == 1", "bool", None),
        ("none is None and qty is not None", "bool", True),
        ("qty in (1, 2, 3) and trim(code) not in ('x', 'y')", "bool", True),
        ("qty == 3.0", "bool", True),
        ("column('Unit Price') * 2", "decimal(12,2)", Decimal("2.20")),
        ("9007199254740993", "int64", 2**53 + 1),
        ("0.1 + 0.2", "decimal(3,1)", Decimal("0.3")),
        ("None", "string", None),
    ],
)
def test_expressions_give_exact_values(expression: str, type: str, wanted: Any) -> None:
    result = compute(expression, type)
    assert not result.held
    assert result["result"] == [wanted]
    assert result.types["result"] == type
    assert result.touched == [0 if wanted is None else 1]


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')", "__import__", "eval('1')", "open('/etc/passwd')",
        "code.upper()", "code.__class__", "code[0]", "(1).real", "lambda: 1", "[x for x in code]",
        "{1: 2}", "{1}", "f'{code}'", "b'x'", "1j", "...", "qty if paid else 1", "(x := 1)",
        "*code", "2 ** 99999999", "qty ** 2", "1 << 99", "qty & 1", "~qty", "qty @ qty", "'x' * 9",
        "await code", "yield", "import os", "code; code", "x = 1", "upper(code, code)",
        "upper(*code)", "substring(code, start=1)", "round(price, qty)", "substring(code, 0)",
        "substring(code, 1, 99999999999)", "round(price, 9999)", "column(code)", "column('nope')",
        "1 < qty < 3", "qty == None", "qty is 3", "code in code", "qty + code", "not qty",
        "qty and paid", "paid < paid", "day < at", "qty == code", "-code", "if_else(1, 2, 3)",
        "coalesce(qty, code)", "coalesce(None, None)", "day == 'soon'", "1e999", "10" * 30, "",
        "qty qty", "code\x00", "-" * 300 + "1", "(" * 500 + "1" + ")" * 500, "1" + "+1" * 900,
    ],
)  # fmt: skip
def test_anything_outside_the_language_is_refused_before_any_row(expression: str) -> None:
    item = {"derive": {"column": "r", "expression": expression, "type": "string"}}
    before = columns(**{name: type for name, (type, _) in CELLS.items()})
    with pytest.raises((ConfigError, ValueError)) as caught:
        outline(before, steps(item))
    if isinstance(caught.value, ConfigError):
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("pricee * 2", "no column 'pricee'. Did you mean 'price'?"),
        ("uper(code)", "no function 'uper'. Did you mean 'upper'?"),
        ("code + 'x'", "concat(a, b) joins texts"),
    ],
)
def test_a_slip_is_answered_with_what_was_probably_meant(expression: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compute(expression, "string")
    assert hint in str(caught.value)


def test_the_declared_type_must_be_of_the_kind_the_expression_gives() -> None:
    with pytest.raises(ConfigError, match="gives whole, and 'result' is declared string"):
        compute("qty + 1", "string")


def test_a_row_whose_computation_fails_is_held_and_the_others_are_not() -> None:
    cells: Cells = {
        "a": ("int64", [6, 6, 1, None, 2**62]),
        "b": ("int64", [3, 0, 3, 0, 1]),
    }
    result = compute("a / b", "decimal(20,4)", cells)
    assert result["result"] == [Decimal(2), None, None, None, None]
    assert list(result.held) == [1, 2, 4]
    (reason,) = result.held[1]
    assert reason["column"] == "result"
    assert reason["rule"] == "derive"
    assert "division by zero" in reason["message"]
    assert reason["message"].endswith("with a = 6, b = 0")
    (inexact,) = result.held[2]
    assert "gives 0.3333" in inexact["message"]
    assert "round(…, 4)" in inexact["message"]
    assert result.touched == [1]


@pytest.mark.parametrize(
    ("expression", "type", "held"),
    [
        ("a * a", "int64", [1]),
        ("a * 4 - 1", "int64", [1]),
        ("a + 0", "int16", [1]),
        ("-a - 2", "int64", []),
        ("f * f", "float64", [1]),
        ("f / 0", "float64", [0, 1]),
        ("a % 0", "int64", [0, 1]),
        ("d * d * d", "decimal(76,0)", [1]),
    ],
)
def test_results_out_of_range_hold_their_rows(expression: str, type: str, held: list[int]) -> None:
    cells: Cells = {
        "a": ("int64", [2, 2**62]),
        "f": ("float64", [2.0, 1e300]),
        "d": ("decimal(38,0)", [Decimal(2), Decimal("9" * 38)]),
    }
    assert list(compute(expression, type, cells).held) == held


@pytest.mark.parametrize(
    "expression",
    [
        "if_else(b != 0, a / b, 0)",
        "if_else(b == 0, 0, a / b)",
        "if_else(b != 0 and a / b > 0, a / b, 0)",
        "if_else(b == 0 or a / b <= 0, 0, a / b)",
        "coalesce(if_else(b == 0, 0, None), a / b)",
    ],
)
def test_a_branch_that_is_not_taken_cannot_fail(expression: str) -> None:
    cells: Cells = {"a": ("int64", [6, 6, 6]), "b": ("int64", [3, 0, 4])}
    result = compute(expression, "decimal(10,2)", cells)
    assert not result.held
    assert result["result"] == [Decimal(2), Decimal(0), Decimal("1.5")]


def test_a_derived_column_may_replace_another_in_its_place() -> None:
    item = {"derive": {"column": "a", "expression": "a * 2", "type": "int64"}}
    result = clean(item, a=("int16", [1, 0, None]), b=("string", ["x", "y", "z"]))
    assert result.types == {"a": "int64", "b": "string"}
    assert result["a"] == [2, 0, None]


WHOLES = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(WHOLES, WHOLES), min_size=1), st.sampled_from(["+", "-", "*", "//", "%"]))
def test_whole_numbers_compute_as_python_does_or_are_held(
    pairs: list[tuple[int, int]], sign: str
) -> None:
    cells: Cells = {"a": ("int64", [a for a, _ in pairs]), "b": ("int64", [b for _, b in pairs])}
    result = compute(f"a {sign} b", "int64", cells)
    for row, (a, b) in enumerate(pairs):
        wanted = None if b == 0 and sign in "//%" else eval(f"{a} {sign} ({b})")  # noqa: S307
        if wanted is None or not -(2**63) <= wanted < 2**63:
            assert row in result.held
        else:
            assert result["result"][row] == wanted


MONEY = st.decimals(min_value=Decimal("-1e12"), max_value=Decimal("1e12"), places=4)


@given(MONEY, MONEY, st.sampled_from(["+", "-", "*"]))
def test_decimals_compute_without_a_rounding(a: Decimal, b: Decimal, sign: str) -> None:
    cells: Cells = {"a": ("decimal(20,4)", [a]), "b": ("decimal(20,4)", [b])}
    result = compute(f"a {sign} b", "decimal(60,8)", cells)
    x, y = Fraction(a), Fraction(b)
    wanted = {"+": x + y, "-": x - y, "*": x * y}[sign]
    assert [Fraction(value) for value in result["result"]] == [wanted]


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_floats_compute_as_ieee_754_does_and_overflow_is_held(a: float, b: float) -> None:
    assume(math.isfinite(a) and math.isfinite(b))
    cells: Cells = {"a": ("float64", [a]), "b": ("float64", [b])}
    result = compute("a + b", "float64", cells)
    assert result["result"] == ([a + b] if math.isfinite(a + b) else [None])
    assert bool(result.held) is not math.isfinite(a + b)

"""Steps that tidy text, fill gaps, translate vocabularies and protect personal data."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clean.pages import clean
from tidegate.errors import ConfigError

TEXTS = st.lists(st.text() | st.none(), min_size=1)


@pytest.mark.parametrize(
    ("item", "text", "wanted"),
    [
        ({"trim": "a"}, "\u00a0 a b\t\u3000\n", "a b"),
        ({"trim": "a"}, " ", ""),
        ({"collapse_spaces": "a"}, " a \u00a0\t b ", " a b "),
        ({"lower": "a"}, "ÉCOLE Å", "école å"),
        ({"upper": "a"}, "école", "ÉCOLE"),
        ({"title": "a"}, "o'neil MC-DONALD", "O'Neil Mc-Donald"),
        ({"normalize": "a"}, "e\u0301", "\u00e9"),
        ({"normalize": {"columns": "a", "form": "NFKC"}}, "\ufb01\u2460", "fi1"),
    ],
)
def test_text_is_tidied_and_null_is_not_text(item: Any, text: str, wanted: str) -> None:
    result = clean(item, a=("string", [text, None, ""]))
    assert result["a"] == [wanted, None, ""]
    assert result.touched == [1]
    assert not result.held


@given(TEXTS)
@pytest.mark.parametrize("step", ["trim", "collapse_spaces", "lower", "normalize"])
def test_tidying_twice_is_tidying_once(step: str, texts: list[str | None]) -> None:
    once = clean({step: "a"}, a=("string", texts))
    twice = clean({step: "a"}, {step: "a"}, a=("string", texts))
    assert twice["a"] == once["a"]
    assert twice.touched == [once.touched[0], 0]


@given(TEXTS)
def test_normal_forms_are_those_of_unicode(texts: list[str | None]) -> None:
    result = clean({"normalize": {"columns": "a", "form": "NFC"}}, a=("string", texts))
    assert result["a"] == [
        None if text is None else unicodedata.normalize("NFC", text) for text in texts
    ]


def test_several_columns_of_one_row_touch_one_row() -> None:
    result = clean({"trim": ["a", "b"]}, a=("string", [" x", "y"]), b=("string", [" x", "y"]))
    assert result.touched == [1]


@pytest.mark.parametrize(
    ("type", "value", "wanted"),
    [
        ("string", "00501", "00501"),
        ("int64", 2**53 + 1, 2**53 + 1),
        ("decimal(10,2)", 0.1, Decimal("0.10")),
        ("decimal(38,9)", "0.123456789", Decimal("0.123456789")),
        ("numeric", 1.5, "1.5"),
        ("bool", False, False),
        ("int64", 0, 0),
        ("string", "", ""),
        ("date", date(2024, 1, 31), date(2024, 1, 31)),
        ("float64", 1, 1.0),
    ],
)
def test_a_constant_fills_gaps_as_a_value_of_the_column(type: str, value: Any, wanted: Any) -> None:
    result = clean({"fill_missing": {"columns": "a", "value": value}}, a=(type, [None]))
    assert result["a"] == [wanted]
    assert result.touched == [1]


def test_empty_text_is_missing_only_when_said_so() -> None:
    texts = ("string", ["x", "", None])
    plain = clean({"fill_missing": {"columns": "a", "value": "?"}}, a=texts)
    assert plain["a"] == ["x", "", "?"]
    both = clean({"fill_missing": {"columns": "a", "value": "?", "empty_text": True}}, a=texts)
    assert both["a"] == ["x", "?", "?"]
    left = clean({"fill_missing": {"columns": "a", "leave": True, "empty_text": True}}, a=texts)
    assert left["a"] == ["x", None, None]
    assert [both.touched, left.touched] == [[2], [1]]


def test_the_previous_value_comes_from_the_page_and_not_from_held_rows() -> None:
    held = '[{"step": "pull", "rule": "r", "message": "m", "column": null}]'
    result = clean(
        {"fill_missing": {"columns": "a", "previous": True}},
        a=("int64", [None, 1, None, 9, None]),
        held=[None, None, None, held, None],
    )
    assert result["a"] == [None, 1, 1, 9, 1]
    assert result.touched == [2]


def test_a_lookup_asks_the_store_once_for_what_is_missing() -> None:
    asked: list[Any] = []

    def lookup(stream: str, key: str, value: str, keys: list[Any]) -> dict[Any, Any]:
        asked.append((stream, key, value, sorted(keys)))
        return {1: "1.50", 2: None}

    policy = {"stream": "shop.products", "match": "product", "key": "id", "value": "price"}
    result = clean(
        {"fill_missing": {"columns": "price", "lookup": policy}},
        product=("int64", [1, 1, 2, 3, None, 4]),
        price=("decimal(10,2)", [None, None, None, None, None, Decimal(7)]),
        lookup=lookup,
    )
    assert asked == [("shop.products", "id", "price", [1, 2, 3])]
    assert result["price"] == [Decimal("1.5"), Decimal("1.5"), None, None, None, Decimal(7)]
    assert result.touched == [2]


def test_a_lookup_without_a_store_is_an_error_that_names_it() -> None:
    policy = {"stream": "shop.products", "match": "a", "key": "id", "value": "price"}
    with pytest.raises(ConfigError, match=r"shop\.products\.price needs a knowledge store"):
        clean({"fill_missing": {"columns": "a", "lookup": policy}}, a=("int64", [None]))


MAPPING = {"columns": "a", "mapping": {"n": "new", "P": "paid", "0": None}}


@pytest.mark.parametrize(
    ("otherwise", "wanted", "held"),
    [
        ("keep", ["new", "x", None, None], []),
        ("hold", ["new", None, None, None], [1]),
        ("null", ["new", None, None, None], []),
        ({"value": "other"}, ["new", "other", None, None], []),
    ],
)
def test_values_outside_a_vocabulary_become_what_the_file_says(
    otherwise: Any, wanted: list[str | None], held: list[int]
) -> None:
    item = {"map_values": {**MAPPING, "otherwise": otherwise}}
    result = clean(item, a=("string", ["n", "x", None, "0"]))
    assert result["a"] == wanted
    assert list(result.held) == held


def test_unknown_values_are_held_when_nothing_is_said() -> None:
    result = clean({"map_values": MAPPING}, a=("string", ["x"]))
    assert result.message(0) == "map_values: a is 'x', which is none of n, P, 0"


def test_case_may_be_ignored_and_the_type_changed() -> None:
    result = clean(
        {"map_values": {**MAPPING, "mapping": {"New": 1, "paid": 2}, "ignore_case": True,
                        "type": "int16"}},
        a=("string", ["NEW", "Paid", None]),
    )  # fmt: skip
    assert result["a"] == [1, 2, None]
    assert result.types == {"a": "int16"}


def test_codes_that_are_numbers_can_be_translated() -> None:
    item = {"map_values": {"columns": "a", "mapping": {1: "on", 0: "off"}, "type": "string"}}
    assert clean(item, a=("int16", [1, 0, None, 5]))["a"] == ["on", "off", None, None]


def test_a_mask_leaves_only_the_end_and_never_a_short_value() -> None:
    texts = ["1234567890", "123", "1234", "éèê12345", None, ""]
    result = clean({"mask": {"columns": "a", "keep": 4}}, a=("string", texts))
    assert result["a"] == ["******7890", "***", "****", "****2345", None, ""]
    whole = clean({"mask": {"columns": "a", "char": "#"}}, a=("string", texts[:2]))
    assert whole["a"] == ["##########", "###"]


def test_a_hash_is_the_keyed_one_and_equal_stays_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    salt = "0123456789abcdef"
    monkeypatch.setenv("TEST_SALT", salt)
    result = clean(
        {"hash": {"columns": ["a", "n"], "salt_env": "TEST_SALT"}},
        a=("string", ["x@example.org", None, "x@example.org", ""]),
        n=("int64", [7, 7, None, 8]),
    )
    wanted = hmac.new(salt.encode(), b"x@example.org", hashlib.sha256).hexdigest()
    assert result["a"][:3] == [wanted, None, wanted]
    assert result["n"][0] == hmac.new(salt.encode(), b"7", hashlib.sha256).hexdigest()
    assert result.types == {"a": "string", "n": "string"}


@pytest.mark.parametrize("salt", [None, "", "shorty-secret"])
def test_a_salt_that_is_absent_or_short_is_an_error_that_does_not_tell_it(
    salt: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_SALT", raising=False)
    if salt is not None:
        monkeypatch.setenv("TEST_SALT", salt)
    with pytest.raises(ConfigError, match=r"TEST_SALT is (not set|too short)") as caught:
        clean({"hash": {"columns": "a", "salt_env": "TEST_SALT"}}, a=("string", ["x"]))
    assert "shorty" not in str(caught.value)

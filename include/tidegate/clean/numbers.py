"""Numbers written as text: separators, signs, currency, percent. Exact, and strict in grouping."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from tidegate.clean.constants import canonical
from tidegate.clean.vector import attempt, blank, each, matches
from tidegate.types import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.vector import Mask

_GROUP = {" ": r"[ \x{00A0}\x{2009}\x{202F}]", "'": r"['’]"}


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How numbers are written; the default is how programs write them."""

    decimal: str = "."
    thousands: str = ""
    strip: tuple[str, ...] = ()
    percent: bool = False


PLAIN = NumberFormat()


def parse_number(
    texts: pa.Array, target: ColumnType, format: NumberFormat = PLAIN
) -> tuple[pa.Array, Mask]:
    """*texts* as exact numbers of type *target*, and which of them are not."""
    import pyarrow.compute as pc

    bare = pc.replace_substring(pc.utf8_trim_whitespace(texts), "\u2212", "-")
    if format.strip:
        affix = "(?:" + "|".join(re.escape(text) for text in format.strip) + ")"
        bare = pc.replace_substring_regex(bare, rf"^([+-]?)\s*{affix}\s*", r"\1")
        bare = pc.replace_substring_regex(bare, rf"\s*{affix}$", "")
    percent = matches(bare, "%$") if format.percent else None
    if format.percent:
        bare = pc.replace_substring_regex(bare, r"\s*%$", "")
    wrong = pc.is_valid(bare).to_numpy(zero_copy_only=False) & ~matches(bare, _grammar(format))
    bare = _program_style(blank(bare, wrong), format)
    if percent is not None:
        shares, _ = each(blank(bare, ~percent), lambda text: canonical(f"{text}e-2"), bare.type)
        bare = pc.coalesce(shares, bare)
    values, failed = _exact(bare, target)
    return values, failed | wrong


def _grammar(format: NumberFormat) -> str:
    point = re.escape(format.decimal)
    digits, exponent = r"\d+", "" if format.percent else r"([eE][+-]?\d{1,3})?"
    if format.thousands:
        group = _GROUP.get(format.thousands, re.escape(format.thousands))
        digits = rf"(\d{{1,3}}({group}\d{{3}})+|\d+)"
    return rf"^[+-]?({digits}({point}\d*)?|{point}\d+){exponent}$"


def _program_style(texts: pa.Array, format: NumberFormat) -> pa.Array:
    """Turn ``+1.234,50`` into ``1234.50``."""
    import pyarrow.compute as pc

    if format.thousands:
        group = _GROUP.get(format.thousands, re.escape(format.thousands))
        texts = pc.replace_substring_regex(texts, group, "")
    if format.decimal != ".":
        texts = pc.replace_substring(texts, format.decimal, ".")
    texts = pc.replace_substring_regex(texts, r"^\+", "")
    return pc.replace_substring_regex(texts, r"\.([eE]|$)", r"\1")


def _exact(texts: pa.Array, target: ColumnType) -> tuple[pa.Array, Mask]:
    import numpy as np
    import pyarrow.compute as pc

    if target.name == "numeric":
        return each(texts, canonical, texts.type)
    if target.name.startswith("int"):
        texts = pc.replace_substring_regex(texts, r"\.0*$", "")
    values, failed = attempt(lambda array: array.cast(target.arrow), (texts,), target.arrow)
    if target.name == "float64":
        infinite = np.asarray(pc.is_inf(values).fill_null(False))
        values, failed = blank(values, infinite), failed | infinite
    if target.name == "decimal" and failed.any():  # an exponent may defeat Arrow, not Decimal
        again, still = each(blank(texts, ~failed), lambda text: _fit(text, target), target.arrow)
        values, failed = pc.coalesce(values, again), still
    return values, failed


def _fit(text: str, target: ColumnType) -> Decimal:
    plain = canonical(text)
    whole, _, fraction = plain.lstrip("-").partition(".")
    if len(fraction) > target.scale or len(whole.lstrip("0")) > target.precision - target.scale:
        raise ValueError
    return Decimal(plain)

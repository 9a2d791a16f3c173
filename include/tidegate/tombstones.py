"""Which rows the source marks as deleted, in a column of theirs or because its log says so.

Decided on the cleaned page, before validation: a row that is gone is not judged by expectations,
for its deletion must reach the store whatever else is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from tidegate.errors import ConfigError
from tidegate.model import GONE
from tidegate.pipeline.models import SoftDelete
from tidegate.types import NUMBERS, Column

if TYPE_CHECKING:
    import pyarrow as pa


def require(stream: str, rule: SoftDelete | None, columns: Sequence[Column]) -> None:
    """Raise ConfigError when cleaning leaves no column of the name that *rule* has."""
    names = [column.name for column in columns]
    if rule is not None and rule.column not in names:
        raise ConfigError(
            f"{stream}: deleted: names column {rule.column!r}, which is not there after cleaning. "
            f"Columns: {', '.join(names)}"
        )


def among(
    table: pa.Table, rule: SoftDelete | None, columns: Sequence[Column]
) -> pa.Array | pa.ChunkedArray:
    """Which rows of a cleaned page are tombstones: one boolean per row, never NULL.

    *columns* are the page's, with their declared types.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    marked = pa.array([False] * table.num_rows, pa.bool_())
    if rule is not None:
        marked = _marked(table, rule, columns)
    return pc.or_(marked, table.column(GONE)) if GONE in table.column_names else marked


def _marked(
    table: pa.Table, rule: SoftDelete, columns: Sequence[Column]
) -> pa.Array | pa.ChunkedArray:
    """Those that the column of *rule* marks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(rule.column)
    bits = pa.types.is_binary(column.type)
    texts = _bits(column) if bits else column.cast(pa.string())
    if rule.values:
        return pc.is_in(pc.utf8_lower(texts), value_set=_words(rule, column))
    if bits:
        return pc.fill_null(pc.not_equal(texts, "0"), False)
    if pa.types.is_boolean(column.type):
        return pc.fill_null(column, False)
    if any(item.name == rule.column and item.type.name in NUMBERS for item in columns):
        return pc.fill_null(pc.not_equal(column, _zero(column.type)), False)
    return pc.is_valid(column)


def _zero(kind: pa.DataType) -> pa.Scalar:
    import pyarrow as pa

    if pa.types.is_string(kind):  # numbers of any size are text
        return pa.scalar("0", kind)
    return pa.scalar(0.0 if pa.types.is_floating(kind) else Decimal(0), kind)


def _words(rule: SoftDelete, column: pa.ChunkedArray) -> pa.Array:
    """The values that mean deleted, as the column's cells are written; 1 is true, too."""
    import pyarrow as pa

    words = [str(value).lower() for value in rule.values]
    if pa.types.is_boolean(column.type):
        words = [{"1": "true", "0": "false"}.get(word, word) for word in words]
    if pa.types.is_binary(column.type):
        words = [{"true": "1", "false": "0"}.get(word, word) for word in words]
    return pa.array(words, pa.string())


def _bits(column: pa.ChunkedArray) -> pa.Array:
    """A column BIT, which comes as octets, as the text of its numbers."""
    import pyarrow as pa

    cells = [
        cell if cell is None else cell.hex() if len(cell) > 8 else str(int.from_bytes(cell))
        for cell in column.to_pylist()
    ]
    return pa.array(cells, pa.string())

"""``derive``: a column computed from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from tidegate.clean.step import NewName, Step
from tidegate.errors import ConfigError
from tidegate.fields import TypeName
from tidegate.types import NUMBERS, Column, ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.expression import Expression
    from tidegate.clean.sheet import Sheet
    from tidegate.clean.vector import Mask


class Derive(Step):
    """Compute a column, like ``quantity * unit_price``. A failing computation holds its row.

    A column of that name that is already there is replaced, in its place.
    """

    name: ClassVar[str] = "derive"
    column: NewName
    expression: str = Field(min_length=1, max_length=2000)
    type: TypeName

    @override
    def outline(self, columns: Sequence[Column]) -> list[Column]:
        self._understood(columns)
        after = Column(self.column, ColumnType.parse(self.type))
        if self.column in {column.name for column in columns}:
            return [after if column.name == self.column else column for column in columns]
        return [*columns, after]

    @override
    def work(self, sheet: Sheet) -> None:
        from tidegate.clean.nodes import Rows
        from tidegate.clean.sheet import distinct, valid

        expression = self._understood(sheet.page.columns())
        rows = Rows(sheet.rows, lambda name: (sheet.read(name), sheet.type(name)))
        found = expression.node.run(rows)
        self._hold(sheet, expression, found.failed, "cannot be computed (division by zero, or "
                   "a number too large)", None)  # fmt: skip
        target = ColumnType.parse(self.type)
        values, failed = self._cast(found.values, expression.node.kind, target)
        fault = f"does not fit {target}"
        if target.name == "decimal":
            fault += f" (round(…, {target.scale}) cuts decimals)"
        self._hold(sheet, expression, failed & ~found.failed, fault, found.values)
        changed = valid(values)
        if self.column in sheet.page.types and sheet.read(self.column).type == values.type:
            changed = distinct(sheet.read(self.column), values)
        sheet.write(self.column, values, target, changed)

    def _understood(self, columns: Sequence[Column]) -> Expression:
        from tidegate.clean.expression import Expression
        from tidegate.clean.nodes import NULL, kind_of

        expression, target = Expression(self.expression, columns), ColumnType.parse(self.type)
        kind = expression.node.kind
        both_numbers = kind in ("whole", "exact", "float") and target.name in NUMBERS
        if not both_numbers and kind not in (kind_of(target), NULL):
            raise ConfigError(
                f"{self.name}: {self.expression!r} gives {kind}, and {self.column!r} is declared "
                f"{target}. Change type, or the expression."
            )
        return expression

    def _cast(self, values: pa.Array, kind: str, target: ColumnType) -> tuple[pa.Array, Mask]:
        import numpy as np
        import pyarrow as pa

        from tidegate.clean.casting import cast
        from tidegate.clean.nodes import type_of

        if pa.types.is_null(values.type):
            return values.cast(target.arrow), np.zeros(len(values), dtype=bool)
        if kind == "exact":
            source = ColumnType("decimal", values.type.precision, values.type.scale)
        else:
            source = target if kind == "text" else type_of(kind)
        return cast(values, source, target)

    def _hold(
        self, sheet: Sheet, expression: Expression, failed: Mask, fault: str, values: Any
    ) -> None:
        """Hold failed rows, with the values the expression used."""
        import numpy as np

        rows = np.flatnonzero(failed & sheet.live).tolist()
        if not rows:
            return
        used = {name: sheet.read(name) for name in expression.used}
        for row in rows:
            given = ", ".join(f"{name} = {_short(values[row])}" for name, values in used.items())
            result = "" if values is None else f" gives {_short(values[row])}, which"
            message = f"{self.column} = {self.expression}{result} {fault}, with {given}"
            sheet.hold_row(row, self.column, message)


def _short(value: Any) -> str:
    text = str(value.as_py())
    return text if len(text) <= 40 else text[:37] + "..."

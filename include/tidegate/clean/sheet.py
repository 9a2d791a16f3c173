"""One step's hold on a page: what it reads, writes, holds and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.model import Reason

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.page import Page
    from tidegate.clean.vector import Mask
    from tidegate.types import ColumnType


class Sheet:
    """Wraps a :class:`Page` for one step; rows held before the step get no further reasons."""

    def __init__(self, page: Page, step: str) -> None:
        import numpy as np

        self.page = page
        self.step = step
        self.rows = len(page.frame)
        self.live = np.ones(self.rows, dtype=bool)
        self.live[list(page.reasons)] = False
        self._changed = np.zeros(self.rows, dtype=bool)

    def type(self, name: str) -> ColumnType:
        """Declared type of column *name*."""
        return self.page.types[name]

    def read(self, name: str) -> pa.Array:
        """Column *name*."""
        return self.page.arrow(name).combine_chunks()

    def replace(self, name: str, values: pa.Array) -> None:
        """Give column *name* new values of its own type."""
        self._changed |= distinct(self.read(name), values)
        self.page.put(name, values, self.type(name))

    def write(self, name: str, values: pa.Array, type: ColumnType, changed: Mask) -> None:
        """Set column *name*, old or new, to *values* of *type*; the caller says what changed."""
        self._changed |= changed
        self.page.put(name, values, type)

    def convert(
        self, name: str, values: pa.Array, failed: Mask, type: ColumnType, fault: str
    ) -> None:
        """Like :meth:`write` for values converted one by one; *failed* rows are held."""
        self.hold(name, failed, fault)
        old = self.read(name)
        same_type = old.type == type.arrow
        changed = distinct(old, values) if same_type else valid(old)
        self.write(name, values, type, changed)

    def hold(self, name: str, failed: Mask, fault: str) -> None:
        """Hold rows whose value in column *name* has this *fault* (``"is not a number"``)."""
        import numpy as np

        if failed.any():
            text = f"{self.step}: {name} is ".replace("{", "{{").replace("}", "}}")
            fault = fault.replace("{", "{{").replace("}", "}}")
            rows = np.flatnonzero(failed & self.live)
            self.page.hold(rows.tolist(), self.step, name, text + "{value}, which " + fault)

    def hold_row(self, row: int, name: str, message: str) -> None:
        """Hold one row for column *name*, which need not exist."""
        if self.live[row]:
            reason = Reason("clean", self.step, f"{self.step}: {message}", name)
            self.page.reasons.setdefault(row, []).append(reason)

    def touched(self) -> int:
        """How many rows changed and are not held."""
        changed = self._changed.copy()
        changed[list(self.page.reasons)] = False
        return int(changed.sum())


def valid(values: pa.Array) -> Mask:
    """True where not NULL."""
    mask: Mask = values.is_valid().to_numpy(zero_copy_only=False)
    return mask


def distinct(old: pa.Array, new: pa.Array) -> Mask:
    """True where the two differ; NULL equals NULL and nothing else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    differs = pc.fill_null(pc.not_equal(old, new), pa.scalar(True))
    mask: Mask = differs.to_numpy(zero_copy_only=False)
    return mask & (valid(old) | valid(new))

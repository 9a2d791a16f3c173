"""``drop_duplicates``: says which rows are the same; the store keeps one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from tidegate.clean.step import Step
from tidegate.fields import Columns
from tidegate.types import Column

if TYPE_CHECKING:
    from tidegate.clean.sheet import Sheet


class DropDuplicates(Step):
    """Rows equal in *columns* are one row; the store keeps one, however the rows are paged.

    The step only gives equal rows an equal text, so it changes no row itself. Keeping the latest
    version per primary key needs no step: the store always does.
    """

    name: ClassVar[str] = "drop_duplicates"
    columns: Columns | None = Field(None, description="default: all columns at this point")

    @override
    def outline(self, columns: Sequence[Column]) -> list[Column]:
        for name in self.columns or ():
            self.find(name, columns)
        return list(columns)

    @override
    def work(self, sheet: Sheet) -> None:
        import pandas as pd
        import pyarrow as pa

        from tidegate import hashing

        names = list(self.columns or sheet.page.types)
        table = pa.table([sheet.read(name) for name in names], names=names)
        texts = hashing.row_texts(table, names).to_pylist()
        digests = [hashlib.blake2b(text, digest_size=16).hexdigest() for text in texts]
        sheet.page.same = pd.Series(digests, dtype=pd.ArrowDtype(pa.string()))

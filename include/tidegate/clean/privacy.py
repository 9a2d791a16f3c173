"""Steps that keep personal data out of the store: ``mask`` and ``hash``."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from tidegate.clean.step import ColumnStep, typed
from tidegate.errors import ConfigError
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    from tidegate.clean.sheet import Sheet

_SHORTEST_SALT = 16


class Mask(ColumnStep):
    """Replace all but the last *keep* characters. Values not longer than that are masked whole."""

    name: ClassVar[str] = "mask"
    keep: int = Field(0, ge=0, description="how many characters at the end stay readable")
    char: str = Field("*", min_length=1, max_length=1)

    @override
    def after(self, column: Column) -> Column:
        if column.type.name != "string":
            raise self.wrong_type(column, "string columns. Put to_text before it")
        return column

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = sheet.read(name)
        length = pc.utf8_length(texts)
        long = pc.greater(length, self.keep)
        hidden = pc.if_else(long, pc.subtract(length, self.keep), length)
        stars = pc.binary_repeat(pa.scalar(self.char), hidden)
        if self.keep:
            tail = pc.utf8_slice_codeunits(texts, start=-self.keep)
            stars = pc.if_else(long, pc.binary_join_element_wise(stars, tail, ""), stars)
        sheet.replace(name, stars)


class Hash(ColumnStep):
    """HMAC-SHA256 as hex text, with a salt from an environment variable: equal stays equal."""

    name: ClassVar[str] = "hash"
    salt_env: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="environment variable that holds the salt"
    )

    @override
    def after(self, column: Column) -> Column:
        return typed(column, ColumnType("string"))

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        import pyarrow as pa

        from tidegate.clean.casting import to_text
        from tidegate.clean.vector import each

        salt, type = self._salt(), sheet.type(name)
        values = sheet.read(name)
        if type.name != "bytes":
            values = to_text(values, type)[0].cast(pa.binary())
        digests, failed = each(
            values, lambda value: hmac.new(salt, value, hashlib.sha256).hexdigest(), pa.string()
        )
        sheet.convert(name, digests, failed, ColumnType("string"), "cannot be hashed")

    def _salt(self) -> bytes:
        salt = os.environ.get(self.salt_env, "")
        if len(salt) < _SHORTEST_SALT:
            state = "too short" if salt else "not set"
            raise ConfigError(
                f"{self.name}: environment variable {self.salt_env} is {state}. It must hold the "
                f"salt: at least {_SHORTEST_SALT} random characters, always the same."
            )
        return salt.encode()

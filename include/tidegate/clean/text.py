"""Steps that tidy text: spaces, case, Unicode form. NULL stays NULL, ``''`` stays ``''``."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from typing_extensions import override

from tidegate.clean.step import TEXTS, ColumnStep
from tidegate.types import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.sheet import Sheet

_SPACES = r"[\s\x{0085}\x{00A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+"


class TextStep(ColumnStep):
    """A step that turns text into text, without exception."""

    @override
    def after(self, column: Column) -> Column:
        if column.type.name not in TEXTS:
            raise self.wrong_type(column, "string columns. Put to_text before it")
        return column

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        sheet.replace(name, self.tidy(sheet.read(name)))

    @abstractmethod
    def tidy(self, texts: pa.Array) -> pa.Array:
        """The tidied texts."""


class Trim(TextStep):
    """Remove white space at both ends."""

    name: ClassVar[str] = "trim"

    @override
    def tidy(self, texts: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        return pc.utf8_trim_whitespace(texts)


class CollapseSpaces(TextStep):
    """Turn every run of white space into one space."""

    name: ClassVar[str] = "collapse_spaces"

    @override
    def tidy(self, texts: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        return pc.replace_substring_regex(texts, _SPACES, " ")


class Lower(TextStep):
    """Write in lower case."""

    name: ClassVar[str] = "lower"

    @override
    def tidy(self, texts: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        return pc.utf8_lower(texts)


class Upper(TextStep):
    """Write in upper case."""

    name: ClassVar[str] = "upper"

    @override
    def tidy(self, texts: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        return pc.utf8_upper(texts)


class Title(TextStep):
    """Start every word with a capital."""

    name: ClassVar[str] = "title"

    @override
    def tidy(self, texts: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        return pc.utf8_title(texts)


class Normalize(TextStep):
    """Bring text to one Unicode normal form, so that equal-looking texts are equal."""

    name: ClassVar[str] = "normalize"
    form: Literal["NFC", "NFKC"] = "NFC"

    @override
    def tidy(self, texts: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        return pc.utf8_normalize(texts, form=self.form)

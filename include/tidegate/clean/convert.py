"""Generic conversion: ``convert`` to a declared type, and ``to_text``."""

from __future__ import annotations

from typing import ClassVar

from tidegate.clean.step import ColumnStep
from tidegate.fields import TypeName


class Convert(ColumnStep):
    """Change the type without changing the value; a value that does not fit holds its row."""

    name: ClassVar[str] = "convert"
    type: TypeName


class ToText(ColumnStep):
    """Write values as text. Bytes are read as UTF-8; those that are not hold their row."""

    name: ClassVar[str] = "to_text"

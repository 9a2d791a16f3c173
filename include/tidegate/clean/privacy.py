"""Steps that keep personal data out of the store: ``mask`` and ``hash``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tidegate.clean.step import ColumnStep


class Mask(ColumnStep):
    """Replace all but the last *keep* characters. Short values are masked whole."""

    name: ClassVar[str] = "mask"
    keep: int = Field(0, ge=0, description="how many characters at the end stay readable")
    char: str = Field("*", min_length=1, max_length=1)


class Hash(ColumnStep):
    """HMAC-SHA256 as hex text, with a salt from an environment variable: equal stays equal."""

    name: ClassVar[str] = "hash"
    salt_env: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="environment variable that holds the salt"
    )

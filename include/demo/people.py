"""What the social network's documents are made of; each value in BSON's own types."""

from __future__ import annotations

import random
import unicodedata
from decimal import Decimal
from typing import Any

TAGS = ("music", "food", "travel", "科技", "football", "books", "art", "garden")
PLACES = (
    ("Zürich", 8.54, 47.37), (" Berlin", 13.4, 52.52), ("東京", 139.69, 35.68),
    ("Łódź", 19.46, 51.76), ("Zu\u0308rich", 8.54, 47.37),
)  # fmt: skip
TEXTS = (
    None, "", "Good morning 😀", "Who knows a good book about the sea?", "家乡的味道 🍜",
    "  so many spaces  ", "Ein Tag am See\nund noch einer",
    "👩‍👩‍👧‍👦 at the zoo", "It rains again.",
)  # fmt: skip
MARKS = ("", "", "", " 🌻", " ✨")
EMAIL = "{}@Example.ORG "
NO_FOLLOWS: dict[str, dict[str, list[str]]] = {"$set": {"follows": []}}


def plain(name: str) -> str:
    """*name* in the letters of a user name."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()


def object_id(chance: random.Random) -> Any:
    """An ObjectId that the seed decides on."""
    from bson import ObjectId

    return ObjectId(chance.randbytes(12))


def money(cents: int) -> Any:
    """An exact amount."""
    from bson import Decimal128

    return Decimal128(Decimal(cents).scaleb(-2))


def number(value: int, type: int) -> Any:
    """*value* as one of six types that programs write numbers in; None is one of them."""
    from bson import Decimal128, Int64

    return (value, Int64(value), float(value), Decimal128(str(value)), str(value), None)[type]

"""Global transaction ids, as far as SQL does not compare them."""

from __future__ import annotations


def sequences(gtids: str) -> dict[str, int]:
    """MariaDB's ``0-1-57,1-2-3``: the largest number of each domain."""
    found: dict[str, int] = {}
    for one in filter(None, str(gtids).split(",")):
        domain, _, number = one.strip().split("-")
        found[domain] = max(int(number), found.get(domain, 0))
    return found


def owned(text: str | None) -> set[str]:
    """MySQL's ``uuid:5#thread:6#thread``."""
    found: set[str] = set()
    source = ""
    for part in str(text or "").replace(",", ":").replace("\n", "").split(":"):
        if "-" in part:
            source = part.strip()
        elif part:
            found.add(f"{source}:{part.partition('#')[0]}")
    return found

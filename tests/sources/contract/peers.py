"""Every peer there is, found by itself."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from sources.contract.peer import Peer

FOLDER = Path(__file__).parents[1] / "peers"


def find() -> list[type[Peer]]:
    """Those of ``tests/sources/peers``, by name."""
    found: list[type[Peer]] = []
    for file in sorted(FOLDER.glob("*.py")):
        found += import_module(f"sources.peers.{file.stem}").PEERS
    return found


PEERS = find()

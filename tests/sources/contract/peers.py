"""Every peer there is, found by itself."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from sources.contract.peer import Peer
from tidegate.pipeline.kinds import kinds

FOLDER = Path(__file__).parents[1] / "peers"


def find() -> list[type[Peer]]:
    """Those of ``tests/sources/peers``, and those that a kind's own module brings."""
    modules = [import_module(f"sources.peers.{file.stem}") for file in sorted(FOLDER.glob("*.py"))]
    modules += [import_module(kind.stream.__module__) for kind in kinds().values()]
    return [peer for module in modules for peer in getattr(module, "PEERS", ())]


PEERS = find()

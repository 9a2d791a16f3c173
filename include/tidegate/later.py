"""Modules of other people that are imported when something of them is used: most runs never do."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def defer(*names: str) -> None:
    """Let whoever imports the modules *names* wait; their packages are imported now.

    What is not installed, or was imported before, is left alone.
    """
    for name in names:
        if name in sys.modules:
            continue
        package, _, last = name.rpartition(".")
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            continue
        if spec is None:
            continue
        sys.modules[name] = module = _Later(name)
        module.__spec__ = spec
        if package:
            setattr(sys.modules[package], last, module)

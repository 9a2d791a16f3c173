"""Modules of other people that are imported when something of them is used: most runs never do."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from threading import Lock
from types import ModuleType
from typing import Any

_once = Lock()


class _Later(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__ = spec
        self.__loader__ = spec.loader
        self.__package__ = spec.parent
        self.__file__ = spec.origin
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations

    def __getattr__(self, name: str) -> Any:
        with _once:
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
        sys.modules[name] = module = _Later(spec)
        if package:
            setattr(sys.modules[package], last, module)

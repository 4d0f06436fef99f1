"""A room that shares its name with a function of the public API, and can be called as it."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def make_callable(room: str, function: str) -> None:
    """Has `weightsearch.launch(...)` call `package.module:function`, looked up when it is called.

    Python makes an imported room an attribute of the package, in place of whatever had its name:
    so the room itself must do what the function does.
    """
    module, _, name = function.partition(":")

    class Room(ModuleType):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            return getattr(import_module(module), name)(*arguments, **named)

    sys.modules[room].__class__ = Room

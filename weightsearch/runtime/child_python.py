"""How this program starts itself again: a child runs no file that only lies in the current folder.

`python -m` and `python -c` look for every module in the current folder first, and so does an empty
element of PYTHONPATH: a `sqlalchemy.py` that somebody left where `launch` was called would be
executed, by root where it runs as root. Hence `-P` (Python 3.11), no empty element, and no folder
of an objective on PYTHONPATH: where a study's own module may lie is told in a variable of our own,
and such folders are searched last (study/objective_contract.py).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FOLDERS = "WEIGHTSEARCH_OBJECTIVE_FOLDERS"
PACKAGE = str(Path(__file__).parents[2])
"""Where this package lies."""


def command(module: str, *arguments: str) -> list[str]:
    """Runs one of our modules."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(folders: Sequence[str] = ()) -> dict[str, str]:
    """For a child that may load an objective from one of `folders`."""
    whole = dict(os.environ)
    named = [*folders, *filter(None, whole.get(FOLDERS, "").split(os.pathsep))]
    if named:
        whole[FOLDERS] = os.pathsep.join(dict.fromkeys(named))
    given = [place for place in whole.get("PYTHONPATH", "").split(os.pathsep) if place]
    # Found by `-m` alone, in a checkout that is not installed: the child would not find it.
    alone = sys.path[:1] == [PACKAGE] and PACKAGE not in sys.path[1:]
    given += [PACKAGE] if alone and PACKAGE not in given else []
    whole.pop("PYTHONPATH", None)
    return whole | ({"PYTHONPATH": os.pathsep.join(given)} if given else {})


def how_ended(code: int) -> str:
    """A child's return code in words: native code that fails ends a process by a signal."""
    if code >= 0:
        return f"ended with code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return f"ended by {known.get(-code, f'signal {-code}')}"


def objective_folders() -> list[str]:
    """Where a study's own objective may lie besides installed modules: as the parent said, then
    the current folder."""
    named = filter(None, os.environ.get(FOLDERS, "").split(os.pathsep))
    return list(dict.fromkeys([*named, *_here()]))


def search_path() -> list[str]:
    """`sys.path` without the folders in which only objectives lie, for a child that loads none."""
    apart = {*objective_folders(), ""} - {PACKAGE}
    found = [os.path.abspath(place) for place in sys.path if place not in apart]
    return found if PACKAGE in found else [*found, PACKAGE]


def leave_current_folder() -> None:
    """Takes the current folder from the front of `sys.path`, where `python -m` has put it, unless
    this package was found nowhere else."""
    if not sys.flags.safe_path and sys.path[:1] == _here() and sys.path[0] != PACKAGE:
        del sys.path[0]


def _here() -> list[str]:
    with suppress(FileNotFoundError):  # a folder that was removed
        return [os.getcwd()]
    return []

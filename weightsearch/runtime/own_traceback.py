"""The traceback of a user's own code: its frames, without ours.

An objective is called through ten or more frames of this package, which tell its author nothing.
What is left is shown above the one line of the error, by every command and in a worker's log; a
launcher finds it in the log by its heading (`logged`).
"""

from __future__ import annotations

import site
import sysconfig
import textwrap
import traceback
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from weightsearch.runtime.safe_text import presentable

HEADING = "in the objective:"
"""How a line ends that is followed by a traceback, whose lines are indented."""
INDENT = "  "
OURS = str(Path(__file__).parents[1])
INSTALLED = tuple({*sysconfig.get_paths().values(), *site.getsitepackages()})
"""Where the standard library and installed packages lie."""


def of(error: BaseException) -> str:
    """The traceback of an error and of its causes, without frames of this package and of imports.

    Whole where no frame is the user's: then it is our own fault, or an installed objective's.
    Passwords are hidden as `presentable` does it.
    """
    told = traceback.TracebackException.from_exception(error)
    chain = list(_chain(told))
    if isinstance(error, SyntaxError) or any(
        _users(frame.filename) for part in chain for frame in part.stack
    ):
        for part in chain:
            part.stack[:] = [frame for frame in part.stack if not _between(frame.filename)]
    return presentable("".join(told.format()).rstrip(), lines=True)


def line(error: BaseException) -> str:
    """`TypeError: what it says`, in one line, also of an error that cannot say it."""
    first = next((text.strip() for text in message(error).splitlines() if text.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def message(error: BaseException) -> str:
    """`str(error)`, also where that raises: the class may be a user's."""
    try:
        return str(error)
    except Exception:
        return "<its message cannot be read>"


def shown(trace: str) -> str:
    """The traceback under its heading."""
    return f"{HEADING}\n{textwrap.indent(trace, INDENT, lambda _: True)}"


def logged(text: str) -> Iterator[str]:
    """The tracebacks that `shown` has put into a log, in their order."""
    lines = iter(text.splitlines())
    for heading in lines:
        if heading.endswith(HEADING):
            block = takewhile(lambda below: below.startswith(INDENT), lines)
            yield "\n".join(below.removeprefix(INDENT) for below in block)


def newest(folder: Path) -> tuple[Path, str] | None:
    """The last traceback of the newest log (`*.log`) that has one, and the log; else None."""
    logs = [(file.stat().st_mtime, file) for file in folder.glob("*.log")]
    for _, file in sorted(logs, reverse=True):
        if found := list(logged(file.read_text(errors="replace"))):
            return file, found[-1]
    return None


def _chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """An error, its causes and, of a group, its members."""
    yield told
    for part in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if part is not None:
            yield from _chain(part)


def _users(file: str) -> bool:
    return not _between(file) and not file.startswith(("<", *INSTALLED))


def _between(file: str) -> bool:
    """Whether a frame lies between a command and the user's code."""
    inside = Path(file).parts
    return (
        file.startswith((f"{OURS}/", "<frozen importlib", "<frozen runpy"))
        or inside[-2:] == ("importlib", "__init__.py")
    )  # fmt: skip

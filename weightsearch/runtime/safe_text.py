"""Text as a terminal, a log or a page may show it: no password, nothing that moves a cursor.

Names come from data, reasons from other people's code, messages from drivers. A control character
among them could rewrite what stands on the terminal, and a URL could have its password in it.
Everything that is printed for people goes through here, whatever its source promised.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from types import TracebackType

PASSWORD = re.compile(r"(?P<start>\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)\S*@", re.IGNORECASE)
SHORTEST = 6
"""Of a password that is hidden wherever it stands: a shorter one is part of too many words."""

_secrets: set[str] = set()


def hide(secret: str | None) -> None:
    """Has the secret replaced by `***` in whatever this process shows from now on."""
    if secret and len(secret) >= SHORTEST:
        _secrets.add(secret)


def presentable(text: str, lines: bool = False) -> str:
    """The text with `***` for known secrets and for the password of a URL, and with escapes for
    what cannot be printed.

    Line ends are escaped too, unless `lines`.
    """
    for secret in sorted(_secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
    kept = "\n\t" if lines else ""
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode()
        for c in PASSWORD.sub(r"\g<start>***@", text)
    )


def size(count: float) -> str:
    """`0 B`, `12 kB`, `3.4 GB`: decimal, as disks are sold."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def counted(count: int, one: str, several: str | None = None) -> str:
    """`1 epoch`, `3 epochs`, `0 epochs`; `several` where it is not `one` with an s."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"


class Presentable(logging.Filter):
    """Makes what a handler logs presentable, the traceback too."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = presentable(record.getMessage(), lines=True), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _told(record.exc_info[1])
            record.exc_info = None
        return True


def guard() -> None:
    """From now on all that this process logs, and the traceback of what nobody catches, in any
    thread, is presentable."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(Presentable())

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        print(_told(error), file=sys.stderr)

    def uncaught_in_thread(event: threading.ExceptHookArgs) -> None:
        if event.exc_value is not None and not issubclass(event.exc_type, SystemExit):
            name = event.thread.name if event.thread is not None else "unknown"
            print(f"in thread {presentable(name)}: {_told(event.exc_value)}", file=sys.stderr)

    sys.excepthook, threading.excepthook = uncaught, uncaught_in_thread


def _told(error: BaseException) -> str:
    return presentable("".join(traceback.format_exception(error)).rstrip(), lines=True)

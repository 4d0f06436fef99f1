"""Text as a terminal, a log or a page may show it: no password, nothing that moves a cursor.

Names come from data, reasons from other people's code, messages from drivers. A control character
among them could rewrite what stands on the terminal, and a URL could have its password in it.
Everything that is printed for people goes through here, whatever its source promised.
"""

from __future__ import annotations

import logging
import re
import traceback

PASSWORD = re.compile(r"(?P<start>\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)\S*@", re.IGNORECASE)


def presentable(text: str, lines: bool = False) -> str:
    """The text with `***` for the password of a URL, and with escapes for what cannot be printed.

    Line ends are escaped too, unless `lines`.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode()
        for c in PASSWORD.sub(r"\g<start>***@", text)
    )


class Presentable(logging.Filter):
    """Makes what a handler logs presentable, the traceback too."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = presentable(record.getMessage(), lines=True), None
        if record.exc_info and record.exc_info[1] is not None:
            told = "".join(traceback.format_exception(record.exc_info[1]))
            record.exc_info, record.exc_text = None, presentable(told.rstrip(), lines=True)
        return True

"""Whether a server on the web answers."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

WITHIN_S = 5.0


def unreachable(url: str) -> str | None:
    """Why `url` cannot be reached, or None.

    Asked once, with a short limit: the hub's own client retries for most of a minute.
    """
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=WITHIN_S).close()
    except urllib.error.HTTPError:
        return None  # it answers
    except (OSError, ValueError) as error:
        return _said(getattr(error, "reason", error))
    return None


def _said(reason: object) -> str:
    """In words, without the number of an error."""
    if isinstance(reason, socket.gaierror):
        return "its name cannot be looked up: is there a network?"
    if isinstance(reason, TimeoutError):
        return f"no answer within {WITHIN_S:g} s"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason)

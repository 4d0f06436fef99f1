"""Places where a test, or somebody who doubts, can make this process die.

Off unless WEIGHTSEARCH_FAILPOINT names a place: `after-claim`, or `after-claim@FILE`, which acts in
one process only, the one that makes FILE. Reaching a named place is like `kill -9`: nothing is
tidied up.
"""

from __future__ import annotations

import os
import signal

PLACES = (
    "after-claim",
    "after-compute",
    "after-spool",
    "after-commit",
    "before-mirror",
    "in-mirror",
    "before-track",
    "in-track",
    "after-track",
    "after-plan",
    "after-search",
    "after-promotion-plan",
    "after-promotion-runs",
)


def reach(place: str) -> None:
    """Says that this place was reached; does not return where it is named."""
    wanted, _, once = os.environ.get("WEIGHTSEARCH_FAILPOINT", "").partition("@")
    if wanted != place:
        return
    if once:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)

"""Work that only makes objects, without the garbage collector.

torch, timm and what they import make half a million objects, of which nothing can be freed; the
collector goes through them again and again, which is a second of the six that the import takes. Of
the 22 s in which a large network is traced and translated it is two.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """In the block nothing is collected. What is there afterwards counts as old, so that the next
    collections, which are of what is new, leave it alone; but not where somebody has frozen
    objects, who would find them thawed."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()  # all objects to a place apart, and from there to the oldest
            gc.unfreeze()
        gc.enable()

"""Where the checkout and the real data lie."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"
HIDDEN = {".github", ".ci"}  # but not what tools keep beside them, an environment above all


def files() -> Iterator[Path]:
    """The files of the checkout, in order."""
    for folder, below, names in os.walk(ROOT):
        below[:] = sorted(
            n for n in below if n in HIDDEN or not (n.startswith(".") or n == "__pycache__")
        )
        yield from (Path(folder, name) for name in sorted(names))

"""Where everything that is kept on this machine lies: WEIGHTSEARCH_HOME; others may write there."""

from __future__ import annotations

import os
from pathlib import Path


def home_folder() -> Path:
    """The folder for the embedded database, packs, checkpoints and reports (WEIGHTSEARCH_HOME)."""
    if os.environ.get("WEIGHTSEARCH_HOME"):
        return Path(os.environ["WEIGHTSEARCH_HOME"]).expanduser().resolve()
    if os.geteuid() == 0:
        # Outside root's home: the database server cannot run as root, and its own user could not
        # get there.
        return Path("/var/lib/weightsearch")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "weightsearch"


def is_forbidden(file: Path) -> bool:
    """Whether it is there and this user may not read it: another user's, and no damaged one."""
    try:
        file.open("rb").close()
    except PermissionError:
        return True
    except OSError:
        pass
    return False

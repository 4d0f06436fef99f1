"""Where a result comes from: the code's commit and the versions of what it ran on."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("weightsearch", "torch", "timm", "optuna", "numpy", "h5py")


@cache
def commit() -> str | None:
    """The commit of this checkout, with `-dirty` where files differ; None outside of one."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            asked = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return asked.stdout.strip()

    # A package that lies in somebody else's repository (a virtual environment) has no commit.
    if git("ls-files", "--error-unmatch", str(Path(__file__))) is None:
        return None
    head = git("rev-parse", "HEAD")
    return head and head + ("-dirty" if git("status", "--porcelain", "-uno") else "")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

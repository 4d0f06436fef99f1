"""Where a result comes from: the code's commit and the versions of what it ran on."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("weightsearch", "torch", "timm", "optuna", "numpy", "h5py")


@cache
def commit(file: Path = Path(__file__)) -> str | None:
    """The commit of the checkout that holds a file, this program's without one; with `-dirty` where
    files differ from it; None outside of one."""
    head = _git(file, "rev-parse", "HEAD") if _is_tracked(file) else None
    return head and head + ("-dirty" if _git(file, "status", "--porcelain", "-uno") else "")


def state(file: Path) -> str:
    """A short name for the code at work: the commit, and a digest of what differs from it.

    Of the checkout that holds the file, else of this program's, else this program's version.
    """
    found = next((f for f in (file, Path(__file__)) if _is_tracked(f)), None)
    if found is None:
        return f"v{metadata.version('weightsearch')}"
    head, changed = _git(found, "rev-parse", "HEAD"), _git(found, "diff", "HEAD")
    digest = hashlib.sha256((changed or "").encode()).hexdigest()[:6]
    return str(head)[:10] + (f"-{digest}" if changed else "")


def _is_tracked(file: Path) -> bool:
    # A package that lies in somebody else's repository (a virtual environment) has no commit.
    return _git(file, "ls-files", "--error-unmatch", str(file.resolve())) is not None


def _git(file: Path, *arguments: str) -> str | None:
    try:
        asked = subprocess.run(
            ["git", "-C", str(file.resolve().parent), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.strip()


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

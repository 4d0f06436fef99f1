"""Which of one's own checkpoints training starts from (`train.init`), known without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from weightsearch.study.spec_fields import Part

MANIFEST = "manifest.json"
"""Of a checkpoint's folder: names its files with their sha256."""
NAMES = ("best", "last")
NETWORK = ("model", "average")
"""The parts of a checkpoint that its network comes from."""


class Init(Part):
    """A checkpoint, by where it lies and what it holds."""

    path: Path
    """Its folder on this machine; no part of a study's identity."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of its network's tensors, so that no other is started from."""


def read(given: Any) -> Any:
    """The text of a study file, a path, as the table that it stands for; what is no text stays.

    The path is a checkpoint's folder, one with `best` or `last` in it, or a file of the checkpoint.
    Raises ValueError where there is none.
    """
    if not isinstance(given, str):
        return given
    path = Path(given)
    file = path.name if path.is_file() else None
    for place in (path.parent,) if file else (path, *(path / name for name in NAMES)):
        if digest := _digest(place / MANIFEST, file):
            return Init(path=place, sha256=digest)
    raise ValueError(
        f"must be a checkpoint that training wrote, a folder or a file in it, but {given}"
        f" {'is none' if path.exists() else 'does not exist'}; give its folder, such as 'best'."
    )


def digest_of(files: Mapping[str, Any]) -> str:
    """Of a manifest's `files`: the sha256 of the network's; of two, that of both sums."""
    sums = [str(files[part]["sha256"]) for part in NETWORK if part in files]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def _digest(manifest: Path, file: str | None) -> str | None:
    """That of a checkpoint, of which `file` is a part where one is given; None of anything else."""
    try:
        files = json.loads(manifest.read_bytes())["files"]
        names = {MANIFEST, *(entry["file"] for entry in files.values())}
        return digest_of(files) if "model" in files and file in {None, *names} else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None

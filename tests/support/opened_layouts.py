"""Data sets of several layouts, opened."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from weightsearch.data.frames.source import Source
from weightsearch.data.readers.registry import open_source
from weightsearch.study.spec_fields import Value


def groups(reader: str, path: Path, **options: Value) -> dict[str, tuple[str, str]]:
    """Split and group of each frame."""
    with closing(open_source(reader, path, options)) as source:
        return {ref.name: (ref.split, ref.group) for ref in source.frames}


def opened(reader: str, path: Path, options: Mapping[str, Value] | None = None) -> Source:
    return open_source(reader, path, options or {})

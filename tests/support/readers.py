"""What readers give, and what they refuse."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from weightsearch.data.frames.source import Frame
from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DataError
from weightsearch.study.spec_fields import Value


def frames(reader: str, path: Path | None, **options: Value) -> dict[str, Frame]:
    with closing(open_source(reader, path, options)) as source:
        return {ref.name: source.read(i) for i, ref in enumerate(source.frames)}


def refused(reader: str, path: Path | None, **options: Value) -> str:
    """The one line that tells why."""
    with pytest.raises(DataError) as caught:
        frames(reader, path, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)

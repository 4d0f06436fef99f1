"""JSON that another version of this program may have stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known(kind: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is stored, the fields of that dataclass: what others wrote beside them is left out,
    and what they did not write yet has its default."""
    return {f.name: stored[f.name] for f in fields(kind) if f.name in stored}

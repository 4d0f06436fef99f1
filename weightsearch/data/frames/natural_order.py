"""The order in which people count: frame 2 before frame 10."""

from __future__ import annotations

import re

NUMBER = re.compile(r"(\d+)")

Key = list[tuple[list[tuple[str, int]], str]]


def natural(name: str) -> Key:
    """Sorts paths part by part, numbers in them by their value; what a folder holds stays together.

    Neighbours in this order are neighbours in time where a camera numbered its frames, and groups
    are made of neighbours.
    """
    return [(_counted(part), part) for part in name.split("/")]


def _counted(part: str) -> list[tuple[str, int]]:
    """Text and the number after it, in turn; -1 where none follows."""
    texts = NUMBER.split(part)
    numbers = [*(int(number) for number in texts[1::2]), -1]
    return list(zip(texts[::2], numbers, strict=True))

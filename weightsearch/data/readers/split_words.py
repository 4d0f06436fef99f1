"""What people call the sides of a split."""

from __future__ import annotations

import re

from weightsearch.data.frames.source import Split

WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "trn": "train", "tr": "train",
    "test": "test", "testing": "test", "tst": "test", "te": "test",
    "val": "test", "valid": "test", "validation": "test", "validate": "test",
    "eval": "test", "evaluation": "test", "dev": "test", "devel": "test", "development": "test",
}  # fmt: skip
"""Validation is taken from the training groups, so frames that somebody set apart to validate on
are test frames: they are never trained on."""
ENDING = re.compile(r"[\s_-]*(set|split|data)$")


def side(word: str) -> Split | None:
    """The split that the word means, as `Train`, `test_set` or `dev` do; None where it means none.

    Numbers are not guessed at: 0 and 1 stand for either.
    """
    plain = word.strip().casefold()
    return WORDS.get(plain) or WORDS.get(ENDING.sub("", plain))

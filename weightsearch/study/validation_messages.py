"""A study file that does not hold, in one line with the place of its first problem."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError

from weightsearch.errors import did_you_mean

OPTION = re.compile(r"[A-Z]|(str|int|float|bool|constrained-\w+|tuple\[.*)$")
"""What pydantic puts into an error's place to say which of several types was tried."""


def first(error: ValidationError, root: type[BaseModel], part: type[BaseModel]) -> str:
    """The first problem with its place; `part` is what all tables of `root` derive from."""
    problem = error.errors()[0]
    place = ".".join(str(p) for p in problem["loc"] if not OPTION.match(str(p)))
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        return (
            f"{place}: unknown key; {did_you_mean(key, _keys_beside(problem['loc'], root, part))}"
        )
    if problem["type"] == "missing":
        return f"{place}: is missing."
    message = problem["msg"].removeprefix("Value error, ")
    got = "" if problem["type"] == "value_error" else f", but got {problem['input']!r}."
    return f"{place}: {message}{got}" if place else f"{message}{got}"


def _keys_beside(
    place: tuple[int | str, ...], root: type[BaseModel], kind: type[BaseModel]
) -> list[str]:
    """The keys that the table holding `place` may have."""
    part: Any = root
    for step in place[:-1]:
        field = part.model_fields.get(step) if hasattr(part, "model_fields") else None
        options = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        tables = [t for t in options if isinstance(t, type) and issubclass(t, kind)]
        if not tables:
            return []
        part = tables[0]
    return list(part.model_fields)

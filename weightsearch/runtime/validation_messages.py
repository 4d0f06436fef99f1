"""A study file that does not hold, in one line with the place of its first problem."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from weightsearch.errors import did_you_mean

OPTION = re.compile(r"[A-Z]|(str|int|float|bool|constrained-\w+|(tuple|literal|function-\w+)\[.*)$")
"""What pydantic puts into an error's place to say which of several types was tried."""


WHOLE, NUMBER, FLAG, TEXT, LIST, TABLE = (
    "a whole number", "a number", "true or false", "text in quotes", "a list", "a table"
)  # fmt: skip
KINDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), NUMBER),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), FLAG),
    "string_type": TEXT,
    "path_type": TEXT,
    **dict.fromkeys(("tuple_type", "list_type"), LIST),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), TABLE),
}
"""What a value of another type must be, by pydantic's name of the error."""
BOUNDS = {
    "greater_than": ("must be above {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be below {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "too_short": ("must have at least {} value{}", "min_length"),
    "too_long": ("must have at most {} value{}", "max_length"),
}
"""And one that is out of its bounds, with the name of the bound."""


def first(error: ValidationError, root: type[BaseModel], part: type[BaseModel]) -> str:
    """The first problem with its place; `part` is what all tables of `root` derive from."""
    problems = _of_the_first(error.errors())
    problem, place = problems[0], _place(problems[0])
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        return (
            f"{place}: unknown key; {did_you_mean(key, _keys_beside(problem['loc'], root, part))}"
        )
    if problem["type"] == "missing":
        return f"{place}: is missing."
    if problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
    else:
        message = f"{_law(problems)}, but got {problem['input']!r}."
    return f"{place}: {message}" if place else message


def _place(problem: ErrorDetails) -> str:
    return ".".join(str(p) for p in problem["loc"] if not OPTION.match(str(p)))


def _of_the_first(problems: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Those of the first wrong value. Of several types that it may have, pydantic names what is
    wrong with each: the one that got furthest is meant, else all are told."""
    first = _place(problems[0])
    here = [p for p in problems if f"{_place(p)}.".startswith(f"{first}.")]
    deeper = [p for p in here if _place(p) != first]
    if deeper and not any(p["type"] in ("extra_forbidden", "missing") for p in here):
        place = _place(deeper[0])
        here = [p for p in deeper if _place(p) == place]
    beyond_type = [p for p in here if p["type"] not in KINDS and p["type"] != "literal_error"]
    return beyond_type[:1] or here


def _law(problems: Sequence[ErrorDetails]) -> str:
    """What the value must be or have."""
    context = problems[0].get("ctx", {})
    if found := BOUNDS.get(problems[0]["type"]):
        text, name = found
        count = context[name]
        return text.format(f"{count:g}", "" if count == 1 else "s")
    if problems[0]["type"] == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    wanted = [
        _kind(problem)
        for problem in problems
        if problem["type"] in KINDS or problem["type"] == "literal_error"
    ]
    if not wanted:  # one that nothing here asks for
        return problems[0]["msg"].replace("Input should", "must", 1)
    *most, last = [w for w in dict.fromkeys(wanted) if w != WHOLE or NUMBER not in wanted]
    if most:
        return f"must be {', '.join(most)} or {last}"
    given = problems[0]["input"]
    example = last == LIST and isinstance(given, str)
    return f"must be {last}{f' such as {json.dumps([given], ensure_ascii=False)}' * example}"


def _kind(problem: ErrorDetails) -> str:
    if problem["type"] == "literal_error":
        return str(problem["ctx"]["expected"])
    return KINDS[problem["type"]]


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

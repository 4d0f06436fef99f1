"""Prints docs/study-file.md: each key of a study file, from the schema; `make docs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from weightsearch.commands.answers.study_schema import schema

BEGIN = """\
# The study file

Every table and key, from the models that check them: this page is written by `make docs`. Rules
between keys are checked by `weightsearch check`; what may be searched is a list or a range.
`weightsearch schema` prints the same as a JSON Schema for editors, and `weightsearch init` writes a
file to begin with. Which keys are part of what a study is: [studies](../studies/README.md).
"""
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false"}
LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def page() -> str:
    """The document, in Markdown."""
    found = schema()
    tables = found["$defs"]
    parts = [BEGIN, _section("Top level", found)]
    at_top = [(key, name) for key, told in found["properties"].items() for name in _named(told)]
    parts += [_section(f"[{key}]", tables[name]) for key, name in at_top if key != "params"]
    known = {name for _, name in at_top} - {"Range"}
    for name, told in tables.items():
        if name not in known:
            parts.append(_section(name, told))
    return "\n".join(parts)


def _section(title: str, table: dict[str, Any]) -> str:
    lines = [f"## {title}", ""]
    if title != "Top level":
        lines += [_plain(table["description"]), ""]
    lines += ["| key | takes | default | |", "|---|---|---|---|"]
    required = table.get("required", ())
    for key, told in table["properties"].items():
        default = "**required**" if key in required else _default(told)
        text = told.get("description") or _of_its_table(told)
        takes = ", or ".join(dict.fromkeys(_takes(told)))
        lines.append(f"| `{key}` | {takes} | {default} | {_plain(text)} |")
    return "\n".join([*lines, ""])


def _of_its_table(told: dict[str, Any]) -> str:
    (name,) = _named(told)
    return str(schema()["$defs"][name].get("description", ""))


def _named(told: dict[str, Any]) -> list[str]:
    """The tables that a key's value may be."""
    forms = [told, *told.get("anyOf", ())]
    return [form["$ref"].rpartition("/")[2] for form in forms if "$ref" in form]


def _takes(told: dict[str, Any]) -> Iterator[str]:
    """What a value may be, in words, one form after the other."""
    if "anyOf" in told:
        for form in told["anyOf"]:
            yield from _takes(form)
    elif "$ref" in told:
        name = told["$ref"].rpartition("/")[2]
        anchor = _anchor(name)
        yield f"a table [{name if anchor == name.lower() else anchor}](#{anchor})"
    elif "const" in told:
        yield f"`{told['const']}`"
    elif "enum" in told:
        yield ", ".join(f"`{value}`" for value in told["enum"])
    elif "prefixItems" in told:
        yield f"a list of {len(told['prefixItems'])}"
    elif told.get("type") == "array":
        yield f"a list: {' or '.join(dict.fromkeys(_takes(told['items'])))}"
    elif told.get("type") == "object":
        yield "a table"
    elif told.get("type") != "null":
        limits = [f"{sign} {_number(told[name])}" for name, sign in LIMITS.items() if name in told]
        yield " ".join([TYPES[told["type"]], *limits])


def _anchor(name: str) -> str:
    for key, told in schema()["properties"].items():
        if name in _named(told) and key != "params":
            return key
    return name.lower()


def _default(told: dict[str, Any]) -> str:
    value = told.get("default")
    if value is None or isinstance(value, dict):
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
    return f"`{text}`"


def _number(value: float) -> str:
    """A limit; that of seeds is a power of two."""
    return "2^31" if value == 2**31 else f"{value:g}"


def _plain(text: str) -> str:
    """For a cell of a table: one line, no bar."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")

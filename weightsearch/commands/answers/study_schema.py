"""The JSON Schema of a study file, for editors that complete and check TOML: `schema`."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from weightsearch.study import known_names, weight_presets
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Part

NAMED = {
    ("DataSpec", "source"): "reader",
    ("ModelSpec", "decoder"): "decoder",
    ("LossSpec", "terms"): "loss term",
    ("SamplerSpec", "kind"): "sampler",
    ("EvaluateSpec", "protocol"): "protocol",
    ("PromoteSpec", "protocol"): "protocol",
}
"""Keys whose texts are names that we know."""


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of what `loading.load` takes.

    It says less than the loader: rules between keys are checked by `check` alone.
    """
    found = StudySpec.model_json_schema()
    tables = {"StudySpec": found, **found["$defs"]}
    told = {(t, k): d for module in _modules() for t, k, d in _docstrings(module)}
    for table, about in tables.items():
        for key, value in about.get("properties", {}).items():
            if text := told.get((table, key)):
                value["description"] = text
            if kind := NAMED.get((table, key)):
                _name(value, list(known_names.NAMES[kind]))
    # Forms that are turned into the others before they are checked.
    _also(found["properties"], "objective", {"type": "string"})
    _also(found["properties"], "budget", {"type": "string"})
    presets: dict[str, Any] = {"enum": sorted({*weight_presets.PRESETS, weight_presets.EQUAL})}
    weights = found["$defs"]["LossSpec"]["properties"]
    form = {"anyOf": [presets, {"type": "object"}]}
    _also(weights, "weights", presets, {"type": "array", "items": form, "minItems": 1})
    _also(found["$defs"]["TrainSpec"]["properties"], "init", {"type": "string"})
    for end in ("start", "end"):
        _also(found["$defs"]["WarmUp"]["properties"], end, presets)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "weightsearch study",
        **{key: value for key, value in found.items() if key != "title"},
    }


def _also(properties: dict[str, Any], key: str, *forms: dict[str, Any]) -> None:
    one = dict(properties[key])
    outer = {name: one.pop(name) for name in ("title", "description", "default") if name in one}
    properties[key] = {**outer, "anyOf": [*one.pop("anyOf", [one]), *forms]}


def _name(value: Any, names: list[str]) -> None:
    """Limits every text below to these names."""
    if isinstance(value, list):
        for one in value:
            _name(one, names)
    elif isinstance(value, dict):
        if value.get("type") == "string":
            value["enum"] = names
        for key in ("anyOf", "items"):
            _name(value.get(key), names)


def _modules() -> list[ModuleType]:
    """Those of all tables: they say, below each key, what it means."""
    return [sys.modules[name] for name in {table.__module__ for table in Part.__subclasses__()}]


def _docstrings(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Class, key and what is written below the key."""
    for table in ast.parse(inspect.getsource(module)).body:
        if not isinstance(table, ast.ClassDef):
            continue
        for key, below in zip(table.body, table.body[1:], strict=False):
            if (
                isinstance(key, ast.AnnAssign)
                and isinstance(key.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                yield table.name, key.target.id, " ".join(str(below.value.value).split())

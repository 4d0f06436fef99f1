"""Command line, API and study file cannot drift: one walk over all three, and what is called.

A new option, public name, parameter or key without documentation fails here.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import typer
from PIL import Image
from support.paths import ROOT
from typer.main import get_command
from typer.testing import CliRunner

import weightsearch
from weightsearch.api import launching, study_view
from weightsearch.commands.answers.study_schema import schema
from weightsearch.commands.main import app
from weightsearch.report.figures.registry import FIGURES
from weightsearch.study import objective_contract

DOCS = ROOT / "docs"


def undocumented_options(program: typer.Typer) -> Iterator[str]:
    """Options and arguments of every command that say nothing of what they do."""

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, (*path, name))
        for asked in command.params:
            if not getattr(asked, "help", None) and asked.name not in STANDS_FOR_ITSELF:
                yield " ".join((*path, asked.opts[0]))

    yield from walk(get_command(program), ())


STANDS_FOR_ITSELF = ("help", "install_completion", "show_completion")
FUNCTIONS = {"launch": launching.launch, "study": study_view.study}
"""Of the rooms that can be called."""


def undocumented_names(module: Any) -> Iterator[str]:
    """Public functions, classes, methods, properties and parameters without documentation."""
    pages = (DOCS / "api.md").read_text()
    told = (DOCS / "python.md").read_text() + (DOCS / "own-objective.md").read_text()
    for name in module.__all__:
        found = FUNCTIONS.get(name, getattr(module, name))
        text = inspect.getdoc(found) or ""
        if not inspect.isclass(found) and not inspect.isfunction(found):
            text = _below(objective_contract, "").get(name, "")
        is_error = inspect.isclass(found) and issubclass(found, Exception)
        if not text:
            yield name
        if not is_error and f'"ws.{name}"' not in pages:
            yield f"{name} in docs/api.md"
        if inspect.isfunction(found):
            yield from _parameters(name, found, text + told)
        elif inspect.isclass(found) and not is_error:
            told_below = _below(sys.modules[found.__module__], found.__name__)
            fields = getattr(found, "__dataclass_fields__", ())
            yield from (f"{name}.{field}" for field in fields if field not in told_below)
            for member, value in vars(found).items():
                is_asked = inspect.isfunction(value) or isinstance(value, property)
                if member.startswith("_") or member in fields or not is_asked:
                    continue
                if not inspect.getdoc(value):
                    yield f"{name}.{member}"
                if inspect.isfunction(value):
                    known = (inspect.getdoc(value) or "") + told
                    yield from _parameters(f"{name}.{member}", value, known)


def _below(module: ModuleType, table: str) -> dict[str, str]:
    """What stands below the assignments of a class, or of the module itself, by name."""
    tree: ast.Module | ast.ClassDef = ast.parse(inspect.getsource(module))
    if table:
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        (tree,) = [node for node in classes if node.name == table]
    found = {}
    for one, below in pairwise(tree.body):
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            targets = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
            found |= {t.id: str(below.value.value) for t in targets if isinstance(t, ast.Name)}
    return found


def _parameters(name: str, function: Any, text: str) -> Iterator[str]:
    for parameter in inspect.signature(function).parameters:
        if parameter != "self" and not re.search(rf"\b{parameter}\b", text):
            yield f"{name}({parameter})"


def undescribed_keys(found: Mapping[str, Any]) -> Iterator[str]:
    """Keys of a study file, in any table, that the schema says nothing of."""
    tables = {"": found, **found["$defs"]}
    for table, about in tables.items():
        if table and not about.get("description"):
            yield table
        for key, value in about.get("properties", {}).items():
            forms = [value, *value.get("anyOf", ())]  # a table is described in its own place
            if not value.get("description") and not any("$ref" in form for form in forms):
                yield f"{table}.{key}"


def test_every_option_of_every_command_says_what_it_does() -> None:
    assert [*undocumented_options(app)] == []


def test_every_public_name_and_parameter_is_documented() -> None:
    assert [*undocumented_names(weightsearch)] == []


def test_the_figures_that_can_be_asked_for_are_listed() -> None:
    (line,) = re.findall(r"^\| `\.figure\(name\)` \|.*", (DOCS / "python.md").read_text(), re.M)
    assert re.findall(r"`(\w+)`", line) == list(FIGURES)


def test_every_key_of_a_study_file_is_described_and_on_its_page() -> None:
    found = schema()
    assert [*undescribed_keys(found)] == []
    page = (DOCS / "study-file.md").read_text()
    for about in (found, *found["$defs"].values()):
        for key in about.get("properties", {}):
            assert f"\n| `{key}` | " in page


def test_the_page_of_the_study_file_is_what_make_docs_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "building"))
    import study_file

    assert study_file.page() == (DOCS / "study-file.md").read_text()


def test_what_is_not_documented_is_found() -> None:
    planted = typer.Typer()

    @planted.command()
    def one(told: str = typer.Option("", help="What it is."), silent: int = 0) -> None: ...

    @planted.command()
    def two(argument: str) -> None: ...

    assert [*undocumented_options(planted)] == ["one --silent", "two argument"]

    class Planted:
        __all__ = ("launch", "load", "silent", "Silent")
        launch, load = weightsearch.launch, weightsearch.load

        @staticmethod
        def silent(unheard_of: int) -> None: ...

        class Silent:
            def speak(self) -> None:
                """Says something."""

            def shut_up(self) -> None: ...

    assert [*undocumented_names(Planted)] == [
        "silent",
        "silent in docs/api.md",
        "silent(unheard_of)",
        "Silent",
        "Silent in docs/api.md",
        "Silent.shut_up",
    ]
    table = {"properties": {"told": {"description": "x"}, "silent": {"type": "string"}}}
    keys = {"properties": {"a": {"$ref": "#/$defs/T"}, "b": {}}, "$defs": {"T": table}}
    assert [*undescribed_keys(keys)] == [".b", "T", "T.silent"]


# What a command calls


class Called(Exception):
    pass


def called(*_: Any, **__: Any) -> Any:
    raise Called


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("launch quickstart", "weightsearch.api.requests.named"),
        ("launch quickstart", "weightsearch.api.requests.asked"),
        ("promote quickstart-grid", "weightsearch.api.requests.request"),
        ("nightly run nightly-cpu", "weightsearch.api.requests.request"),
        ("best", "weightsearch.api.study_view.study"),
        ("report --out x.html", "weightsearch.api.study_view.study"),
        ("predict here room.png --out out", "weightsearch.depth.inference.model.load"),
    ],
)
def test_where_the_api_has_a_function_the_command_calls_it(
    command: str, function: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("room.png")
    monkeypatch.setattr(function, called)
    ran = CliRunner().invoke(app, command.split())
    assert isinstance(ran.exception, Called), ran.output


def test_what_python_can_ask_of_a_launch_and_a_report_the_command_can_too() -> None:
    commands: dict[str, click.Command] = get_command(app).commands  # type: ignore[attr-defined]
    for function, name in ((launching.launch, "launch"), (weightsearch.Study.report, "report")):
        options = {parameter.name for parameter in commands[name].params}
        asked = set(inspect.signature(function).parameters) - {"self", "path"}
        assert asked <= options, name

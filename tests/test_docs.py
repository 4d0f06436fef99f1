"""What the documents say is there, and works."""

from __future__ import annotations

import ast
import importlib
import io
import json
import math
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from support.paths import ROOT, files
from support.processes import Cli
from typer.main import get_command

from weightsearch.commands.main import app
from weightsearch.depth.evaluation.protocols import PROTOCOLS, Protocol
from weightsearch.study.tables.train_spec import LATER

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("studies/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_links_between_files_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_example_of_an_own_objective_runs_and_is_short(cli: Cli, storage: str) -> None:
    code = (ROOT / "docs" / "examples" / "own_network.py").read_text().splitlines()
    assert len(code) < 40
    study = ROOT / "docs" / "examples" / "own_network.toml"
    few = ("--trials", "8")
    ran = cli("launch", study, *few, "--device", "cpu", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["points"]["done"] == 8
    assert answer["ranking"][0]["interval"] is not None
    assert (Path(answer["promoted"]["checkpoint"]) / "network.pt").is_file()


def test_the_page_on_training_has_a_study_that_passes_its_check(
    cli: Cli, storage: str, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    lines = page.partition("An example with all of it:\n")[2].splitlines()
    example = [*takewhile(lambda line: not line or line.startswith("    "), lines)]
    file = tmp_path / "example.toml"
    file.write_text("\n".join(line[4:] for line in example))
    table = tomllib.loads(file.read_text())["train"]
    assert set(LATER) - {"init"} <= table.keys()
    checked = cli("check", file, "--device", "cpu", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert checked.returncode == 0, checked.stdout
    said = {row["part"]: row["said"] for row in json.loads(checked.stdout)["rows"]}
    assert "20 of 3 epochs (lr 0.0001 to 0.003)" in said["points"]


def test_the_reference_of_the_command_line_is_what_make_docs_writes(tmp_path: Path) -> None:
    written = tmp_path / "cli.md"
    subprocess.run(
        [
            *(sys.executable, "-m", "typer", "weightsearch.commands.main", "utils", "docs"),
            *("--name", "weightsearch", "--output", str(written)),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    assert written.read_text() == (ROOT / "docs" / "cli.md").read_text()


def _commands() -> list[str]:
    found = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        nested = getattr(command, "commands", None)
        found += [f"{name} {n}" for n in nested] if nested else [name]
    return found


@pytest.mark.parametrize("command", _commands())
def test_every_command_is_on_its_page_and_has_help_with_an_example(command: str) -> None:
    assert f"`weightsearch {command}" in (ROOT / "docs" / "commands.md").read_text()
    found = get_command(app)
    for name in command.split():
        found = found.commands[name]  # type: ignore[attr-defined]
    assert f"Example: weightsearch {command}" in (found.help or "")


def test_the_route_of_a_trial_exists() -> None:
    """CONTRIBUTING names files and functions from `launch` to the finished trial."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    route = page.split("## The route of one trial")[1].split("\n## ")[0]
    steps = re.findall(r"`(weightsearch/[\w/]+\.py)`[^`\n]*`(\w+)`", route)
    assert len(steps) >= 8
    for file, function in steps:
        code = (ROOT / file).read_text()
        assert re.search(rf"^\s*(?:def|class) {function}\b", code, re.M), f"{file}: {function}"


def protocol_row(protocol: Protocol) -> str:
    """Its row in the table of docs/protocols.md."""
    shape = protocol.shape or (375, 1242)
    rows, columns = "all", ""
    if protocol.crop is not None:
        row, column = protocol.crop((shape[0] // protocol.step, shape[1] // protocol.step))
        rows, columns = f"{row.start}:{row.stop}", f", {column.start}:{column.stop}"
    above = protocol.min_m if protocol.above_m is None else protocol.above_m
    no_end = protocol.max_m == math.inf
    mask = f"{above:g} < gt" + ("" if no_end else f" < {protocol.max_m:g} m")
    cells = (
        f"`{protocol.name}`",
        protocol.ground_truth or "any",
        rows + columns + (f" of every {protocol.step}nd pixel" if protocol.step > 1 else ""),
        mask if protocol.masked else "gt > 0",
        f"{protocol.min_m:g} m up" if no_end else f"{protocol.min_m:g} to {protocol.max_m:g} m",
        protocol.resize + (", clamped before" if protocol.clamp_first else ""),
        "averaged" if protocol.mirror else "",
        protocol.source,
    )
    return "| " + " | ".join(cells).replace("  ", " ") + " |"


def test_the_page_on_protocols_says_what_the_code_says() -> None:
    page = (ROOT / "docs/protocols.md").read_text().partition("\nCrops are")[0]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [protocol_row(protocol) for protocol in PROTOCOLS.values()]


# Paths and dotted names that documents, settings and code mention

FILES = [*files()]
BASENAMES = {file.name for file in FILES}
TEXTS = [f for f in FILES if f.suffix in (".md", ".toml", ".yml", ".yaml", ".sh", ".sql")] + [
    *(ROOT / "Dockerfile", ROOT / "Makefile", ROOT / ".dockerignore", ROOT / ".ci" / "run")
]
CODE = [f for f in FILES if f.suffix == ".py"]

SUFFIX = r"\.(?:py|toml|md|sql|yml|yaml|css|js)(?![\w/])"
WITH_SLASH = re.compile(rf"(?<![\w/.{{}}*:@$~<-])[\w.-][\w/.-]*/[\w/.-]*\w{SUFFIX}")
BARE = re.compile(r"[`(]([\w-]+\.py)(?=[`),;: ])")
DOTTED = re.compile(r"(?<![\w./@-])(?:weightsearch|dashboards)(?:\.[A-Za-z_]\w*)+(?![\w/-])")

ELSEWHERE = {
    "depth_estimation.py",
    "examples/vision/depth_estimation.py",  # in keras-team/keras-io
    *("sqlalchemy.py", "optuna.py", "torch.py", "sitecustomize.py"),  # which must not be executed
}
NOT_MODULES = {
    "weightsearch.trivial",  # the name under which stored studies know the trivial objective
    "weightsearch.json",  # a file inside an exported .pt2
    "weightsearch.dashboards",  # the entry point group of pyproject.toml
}


def _prose(code: str) -> Iterator[str]:
    """The comments and docstrings of a file of code."""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)  # a docstring, of an attribute too


def _strings(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _dead_paths(text: str, folder: Path, known: frozenset[str] = frozenset()) -> list[str]:
    """The files that a text names and that are not there: from the root, from weightsearch/, or
    from the text's own folder. A bare file name is any file's."""
    dead = []
    for path in WITH_SLASH.findall(text):
        roots = (ROOT, ROOT / "weightsearch", folder)
        if path not in known | ELSEWHERE and not any((root / path).exists() for root in roots):
            dead.append(path)
    return dead + [n for n in BARE.findall(text) if n not in BASENAMES | ELSEWHERE | known]


def _resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[size:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def _dead_names(text: str) -> list[str]:
    return [n for n in DOTTED.findall(text) if n not in NOT_MODULES and not _resolves(n)]


def _relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", TEXTS, ids=_relative)
def test_documents_and_settings_name_what_exists(file: Path) -> None:
    text = file.read_text()
    # A block of code that begins with the path of a file shows how that file would be written.
    new = frozenset(re.findall(r"^```python\n# ([\w/.]+)", text, re.M))
    assert _dead_paths(text, file.parent, new) == []
    assert _dead_names(text) == []


@pytest.mark.parametrize("folder", ["weightsearch", "dashboards", "benchmarks", "tests"])
def test_comments_docstrings_and_strings_name_what_exists(folder: str) -> None:
    dead = []
    for file in {*(ROOT / folder).rglob("*.py")} - {Path(__file__)}:  # it plants dead ones
        code = file.read_text()
        found = [path for text in _prose(code) for path in _dead_paths(text, file.parent)]
        found += [name for text in _strings(code) for name in _dead_names(text)]
        dead += [f"{_relative(file)}: {name}" for name in found]
    assert dead == []


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("see tests/test_gone.py", ["tests/test_gone.py"]),
        ("see `gone.py` and (gone.py)", ["gone.py", "gone.py"]),
        (
            "weightsearch/gone.toml, store/gone/x.sql",
            ["weightsearch/gone.toml", "store/gone/x.sql"],
        ),
        ("see depth/objective.py, `objective.py`, test_docs.py", []),
        ("https://example.org/a/b.js, /etc/x/y.yml, {a}/b.py, runs/*/c.toml", []),
    ],
)
def test_a_dead_path_is_found(text: str, dead: list[str]) -> None:
    assert _dead_paths(text, ROOT / "tests") == dead


def test_a_dead_module_is_found() -> None:
    named = "weightsearch.ledger, weightsearch.store.ledger.leases.claim, weightsearch.trivial:run"
    assert _dead_names(named) == ["weightsearch.ledger"]
    assert _dead_names("weightsearch.store.ledger.leases.gone") == [
        "weightsearch.store.ledger.leases.gone"
    ]

"""What the documents say is there, and works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT
from support.processes import Cli
from typer.main import get_command

from weightsearch.commands.main import app

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "studies" / "LOG.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_links_between_files_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
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
    assert answer["promoted"]["checkpoint"]


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
def test_every_command_is_in_the_readme_and_has_help_with_an_example(command: str) -> None:
    assert f"weightsearch {command}" in (ROOT / "README.md").read_text()
    found = get_command(app)
    for name in command.split():
        found = found.commands[name]  # type: ignore[attr-defined]
    assert f"Example: weightsearch {command}" in (found.help or "")


def test_the_route_of_a_trial_in_the_readme_exists() -> None:
    """README names files and functions from `launch` to the finished trial."""
    route = (ROOT / "README.md").read_text().split("## The route of one trial")[1].split("\n## ")[0]
    steps = re.findall(r"`(weightsearch/[\w/]+\.py)`[^`\n]*`(\w+)`", route)
    assert len(steps) >= 8
    for file, function in steps:
        code = (ROOT / file).read_text()
        assert re.search(rf"^\s*(?:def|class) {function}\b", code, re.M), f"{file}: {function}"


def test_the_page_on_protocols_says_what_the_code_says() -> None:
    from weightsearch.depth.evaluation.protocols import PROTOCOLS

    page = (ROOT / "docs/protocols.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}` | {p.description} |" for name, p in PROTOCOLS.items()]

"""The tutorial, from its page: each file written, each command run, in the order of the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.paths import ROOT
from support.processes import Cli

from weightsearch.api import opened as opened_databases

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
QUICK = '[objective]\nrun = "weightsearch.study.trivial_objective:run"\n'
"""In place of [data] and [model]: what is not about networks goes as on the page, in no time."""


@pytest.fixture
def here(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WEIGHTSEARCH_STORAGE", storage)
    monkeypatch.chdir(tmp_path)
    yield
    opened_databases.close()


def blocks() -> list[tuple[str, str]]:
    """The language and text of each."""
    return [(m[1], m[2]) for m in BLOCK.finditer((ROOT / "docs" / "tutorial.md").read_text())]


def quick(study: str) -> str:
    """The study without networks."""
    before, _, rest = study.partition("[data]")
    return before.replace('objective = "rmse"\n', "") + QUICK + rest[rest.index("[loss]") :]


def follow(cli: Cli, is_quick: bool) -> dict[str, str]:
    """What each command printed. Raises AssertionError for the first that fails."""
    said: dict[str, str] = {}
    for language, text in blocks():
        if language == "toml":
            name = text.splitlines()[0].removeprefix("# ")
            Path(name).write_text(quick(text) if is_quick else text)
        elif language == "python":
            exec(compile(text, "tutorial.md", "exec"), {})
        elif language == "console":
            for line in text.splitlines():
                program, *arguments = line.removeprefix("$ ").split()
                assert program == "weightsearch"
                if arguments[0] == "predict":
                    if is_quick:
                        continue
                    found = json.loads(cli("best", "first-grid", "--json").stdout)
                    arguments[1] = found["promoted"]["checkpoint"]
                    Image.fromarray(np.full((96, 128, 3), 90, np.uint8)).save("kitchen.jpg")
                ran = cli(*arguments)
                assert ran.returncode == 0, (line, ran.stdout, ran.stderr)
                said[line.removeprefix("$ ")] = ran.stdout + ran.stderr
    return said


def test_the_tutorial_runs_without_networks(
    here: None, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    said = follow(cli, is_quick=True)
    assert "10 points" in said["weightsearch launch first.toml --no-promote --dry-run"]
    assert "10 of 10 points done exactly once" in said["weightsearch verify first-grid"]
    assert "means over 3 seeds" in said["weightsearch best first-grid"]  # the second time
    assert Path("first.html").is_file()
    assert Path("ranking.html").is_file()
    assert "device time" in capsys.readouterr().out  # the headline


@pytest.mark.slow
def test_the_tutorial_runs_as_it_is_printed(here: None, cli: Cli) -> None:
    follow(cli, is_quick=False)
    assert np.load("depth/kitchen.npy").shape == (96, 128)

"""The code on docs/extending.md runs as it stands there, and what it adds really works."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.paths import ROOT
from support.specs import make_spec

from weightsearch.data.packs import building
from weightsearch.data.packs.layout import Pack
from weightsearch.depth.loss.terms import LOSS_TERMS
from weightsearch.depth.network.targets import Range
from weightsearch.study import known_names, planning

BLOCK = re.compile(r"^```python\n# ([\w/.]+)(?:: (\w+))?\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Written:
    """What a section of the page tells one to write."""

    name: str
    path: str
    function: str
    test: str


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Written]:
    """Does what a section says, for the length of a test."""

    def followed(heading: str, kind: str) -> Written:
        page = (ROOT / "docs" / "extending.md").read_text()
        section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        blocks = BLOCK.findall(section)
        (path, _, code), (registry, registered, entry), (test_path, _, test) = blocks
        name = _module(path)
        if (ROOT / path).exists():  # a function that is added to a file
            module = importlib.import_module(name)
            scope = dict(vars(module))
            exec(code, scope)
            for added in scope.keys() - vars(module).keys() - {"__builtins__"}:
                monkeypatch.setattr(module, added, scope[added], raising=False)
        else:
            module = ModuleType(name)
            exec(code, vars(module))
            monkeypatch.setitem(sys.modules, name, module)
        at = importlib.import_module(_module(registry))
        scope = {**vars(at), name.rpartition(".")[2]: module}
        ((key, value),) = eval("{" + entry + "}", scope).items()
        monkeypatch.setitem(getattr(at, registered), key, value)
        monkeypatch.setitem(known_names.NAMES, kind, (*known_names.NAMES[kind], key))
        assert (ROOT / test_path).exists(), test_path
        return Written(key, test_path, code, test)

    return followed


def _lines(code: str) -> int:
    """Lines of code: no imports, no docstrings, no blank lines or comments."""
    tree = ast.parse(code)
    kept = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return len([line for node in kept for line in ast.unparse(node).splitlines() if line.strip()])


def _run(written: Written, tmp_path: Path) -> None:
    """The section's test, among the names of the file that it would be added to."""
    assert _lines(written.function) < 15
    found = importlib.util.spec_from_file_location("host", ROOT / written.path)
    assert found is not None
    assert found.loader is not None
    host = importlib.util.module_from_spec(found)
    found.loader.exec_module(host)
    scope: dict[str, Any] = dict(vars(host))
    exec(written.test, scope)
    (name,) = (n.name for n in ast.parse(written.test).body if isinstance(n, ast.FunctionDef))
    test = scope[name]
    test(*([tmp_path] if inspect.signature(test).parameters else []))


def test_a_loss_term(follow: Callable[[str, str], Written], tmp_path: Path) -> None:
    written = follow("A loss term", "loss term")
    _run(written, tmp_path)
    generator = torch.Generator().manual_seed(0)
    pred, true = (10 * torch.rand(2, 1, 16, 20, generator=generator) for _ in range(2))
    valid = torch.rand(pred.shape, generator=generator) < 0.7
    leaf = pred.clone().requires_grad_()
    value = LOSS_TERMS[written.name](
        leaf, torch.where(valid, true, torch.nan), valid, Range(0.1, 10.0)
    )
    value.backward()
    assert leaf.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad[valid].abs().max() > 0
    assert leaf.grad[~valid].abs().max() == 0
    spec = make_spec(
        objective="rmse",
        data={"source": "synthetic", "size": [96, 128]},
        model={"encoder": "resnet10t"},
        loss={"terms": [written.name, "ssim"], "weights": {"grid": "simplex", "steps": 2}},
        train={"seed": 0},
    )
    assert len(planning.plan(spec).points) == 3


def test_a_reader(follow: Callable[[str, str], Written], tmp_path: Path) -> None:
    written = follow("A reader", "reader")
    (tmp_path / "test").mkdir()
    _run(written, tmp_path / "test")
    data = tmp_path / "data"
    for k in range(4):
        (data / f"scene_{k}").mkdir(parents=True)
        Image.new("RGB", (16, 12), (k, k, k)).save(data / f"scene_{k}" / "a.png")
        np.save(data / f"scene_{k}" / "a.npy", np.full((12, 16), 1.0 + k))
    with Pack(building.ensure(written.name, data, {}, tmp_path / "home")) as pack:
        assert list(pack.names) == [f"scene_{k}/a" for k in range(4)]
        assert [pack.frame(i).depth_m.max() for i in range(4)] == pytest.approx([1, 2, 3, 4])
    tables = {"data": {"source": written.name, "size": [96, 128]}}
    assert make_spec(**tables).data is not None


def test_a_sampler(follow: Callable[[str, str], Written], tmp_path: Path) -> None:
    written = follow("A sampler", "sampler")
    _run(written, tmp_path)
    spec = make_spec(
        sampler={"kind": written.name, "trials": 7}, params={"encoder": ["one", "two"]}
    )
    points = planning.plan(spec).points
    assert len({point.key() for point in points if point is not None}) == 7
    assert {point.params["encoder"] for point in points if point} == {"one", "two"}

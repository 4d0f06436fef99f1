"""Nothing that is read can run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from support.paths import ROOT

SERIALISERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNPICKLES = {"load", "jit.load", "hub.load", "package.PackageImporter", "export.load"}
PICKLES = {
    # What starts Slurm jobs gives the commands to submitit, which pickles them for itself, into a
    # folder that only its user writes to; nothing that somebody else made is read back.
    "launch",
}


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unpickles(code: str) -> Iterator[str]:
    """What in this code could run what is in a file."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in SERIALISERS)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] in SERIALISERS:
                yield node.module
            if node.module.split(".")[0] == "torch":
                yield from (f"torch.{a.name}" for a in node.names if a.name == "load")
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            if called.startswith("torch.") and called.removeprefix("torch.") in UNPICKLES:
                yield called
            if called in ("eval", "exec", "__import__", "pd.read_pickle", "read_pickle"):
                yield called
            if called.endswith(("np.load", "numpy.load")) and not any(
                keyword.arg == "allow_pickle"
                and isinstance(keyword.value, ast.Constant)
                and keyword.value.value is False
                for keyword in node.keywords
            ):
                yield called


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load(path)",
        "from torch import load",
        "torch.jit.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_what_could_run_what_is_in_a_file_would_be_found(code: str) -> None:
    assert list(unpickles(code))


def test_nothing_that_is_read_can_run() -> None:
    """Tensors are read as safetensors, the rest as JSON, TOML, HDF5, CSV, pictures and .npy."""
    found = {
        str(file.relative_to(ROOT)): list(unpickles(file.read_text()))
        for package in ("weightsearch", "dashboards")
        for file in (ROOT / package).rglob("*.py")
        if not (file.parent.name in PICKLES and file.name.startswith("slurm"))
    }
    own = {
        # What an export has just made itself, read back to be compared.
        "weightsearch/depth/inference/export_formats.py": ["torch.export.load"],
        # A file of an installed package, as pip recorded it, and tensors alone (weights_only).
        "weightsearch/depth/network/pip_weights.py": ["torch.load"],
        # What the same study has saved, tensors alone (weights_only).
        "weightsearch/adapters/lightning.py": ["torch.load", "torch.load"],
        "weightsearch/adapters/torch.py": ["torch.load"],
    }
    assert {file: what for file, what in found.items() if what} == own

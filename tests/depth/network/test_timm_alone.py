"""timm's import of Weights & Biases is left out, and nobody else's."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from weightsearch.depth.network import timm_alone


def test_networks_do_not_import_wandb() -> None:
    assert importlib.util.find_spec("wandb")  # or nothing is left out
    code = "import sys, weightsearch.depth.inference.export; print(*sys.modules, sep='\\n')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = ran.stdout.splitlines()
    assert "timm.utils.summary" in imported  # which tries to
    assert "wandb" not in imported


def test_what_is_left_out_can_be_imported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with timm_alone._without("colorsys"), pytest.raises(ImportError):
        importlib.import_module("colorsys")
    found = importlib.import_module("colorsys")
    with timm_alone._without("colorsys"):  # it is there: nothing is gained
        assert importlib.import_module("colorsys") is found

"""`weights`: where pretrained weights come from, and folders of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import timm
from safetensors.torch import save_file
from support.processes import Cli

SMALL = "test_efficientnet"
WITHOUT = "efficientnet_lite1"
"""timm has no weights of it anywhere."""


def test_weights_are_shown_and_fetched(cli: Cli, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    save_file(timm.create_model(SMALL).state_dict(), own / f"{SMALL}.safetensors")
    digest = hashlib.sha256((own / f"{SMALL}.safetensors").read_bytes()).hexdigest()

    everything = cli("weights", "--json", WEIGHTSEARCH_WEIGHTS=str(own))
    assert everything.returncode == 0, everything.stderr
    (row,) = [r for r in json.loads(everything.stdout)["weights"] if r["encoder"] == SMALL]
    assert (row["place"], row["sha256"], row["license"]) == ("folder", digest, None)

    named = cli("weights", SMALL, WITHOUT, WEIGHTSEARCH_WEIGHTS=str(own))
    assert named.returncode == 3
    assert f"{SMALL}: from a folder\n" in named.stdout
    assert f"licence unknown, sha256 {digest}\n" in named.stdout
    assert f"{WITHOUT}: nowhere\n" in named.stdout
    assert "timm names no place" in named.stdout

    filled = tmp_path / "filled"
    wrong = cli("weights", "fetch", SMALL, "test_efficientnot", "--to", filled)
    assert (wrong.returncode, filled.exists()) == (1, False)
    fetched = cli("weights", "fetch", SMALL, "--to", filled, WEIGHTSEARCH_WEIGHTS=str(own))
    assert fetched.returncode == 0, fetched.stderr
    assert str(filled / f"{SMALL}.safetensors") in fetched.stdout
    again = cli("weights", "show", SMALL, "--json", WEIGHTSEARCH_WEIGHTS=str(filled))
    assert json.loads(again.stdout)["weights"][0]["sha256"] == digest

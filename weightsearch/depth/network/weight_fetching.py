"""Pretrained weights as files in a folder, for machines that reach no hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from safetensors.torch import save

from weightsearch.depth.network import weight_sources
from weightsearch.depth.network.weight_sources import FILE, ORIGIN, Source, TimmEncoder, missing
from weightsearch.errors import WeightsError
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.reachable import WITHIN_S


def fetch(encoder: TimmEncoder, folder: Path, say: Callable[[str], None]) -> Source:
    """Writes `NAME.safetensors` into the folder, and beside it where it comes from.

    They come from where training would take them, too; `say` is told of a download. Raises
    WeightsError where they cannot be had, OSError where the folder cannot be written.
    """
    source = weight_sources.find(encoder)
    target = folder / f"{encoder.name}.safetensors"
    if source.path is None:
        say(f"downloading {encoder.tagged}")
        source = _downloaded(encoder)
    assert source.path is not None
    if target.is_file() and target.samefile(source.path):
        return source
    if source.package is not None:
        content = save(source.package.tensors(encoder.tensors))
    else:
        source.told(encoder)  # checks it
        content = source.path.read_bytes()
    origin = replace(source.origin, file=None, sha256=hashlib.sha256(content).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(target, content)
    write_atomically(target.with_suffix(ORIGIN), json.dumps(asdict(origin), indent=1).encode())
    return Source("folder", replace(origin, file=target.name), target)


def hub_sha256(encoder: TimmEncoder) -> str | None:
    """What the hub says of the file that it would give; None where it does not say."""
    try:
        url = hf_hub_url(encoder.config.hf_hub_id, FILE)
        etag = get_hf_file_metadata(url, timeout=WITHIN_S).etag
    except Exception:  # of the hub's client, of its HTTP client, and OSError: nothing common
        return None
    return etag if etag and len(etag) == 64 else None


def _downloaded(encoder: TimmEncoder) -> Source:
    config = encoder.config
    if not config.hf_hub_id:
        raise WeightsError(
            f"the weights of '{encoder.name}' must be on the hub to be fetched, but timm has them"
            f" at {config.url} only."
        )
    try:
        hf_hub_download(config.hf_hub_id, FILE)
    except Exception as error:  # of the hub's client, of its HTTP client, and OSError
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise missing(encoder, first) from None
    found = weight_sources.here(encoder)
    if found is None:
        raise missing(encoder, "the hub's client has not kept what it downloaded")
    return found

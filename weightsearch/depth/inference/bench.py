"""What a network costs: parameters, MACs, memory, latency, energy. Weights do not change that, so
random ones do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from weightsearch.depth.inference import energy_meter
from weightsearch.depth.inference.export import onnx_run
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.precision import native_bf16, pick
from weightsearch.errors import ConfigError, WeightsearchError, did_you_mean
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.spec import ModelSpec

BATCHES = (1, 8)
REPEATS = 50
WARM_UP = 3
MOST_S = 20.0
"""A measurement ends after this long, though not before `LEAST` runs."""
LEAST = 10

Size = tuple[int, int]
Run = Callable[[Tensor], object]


class UnavailableError(Exception):
    """A way of running that this machine has not; the message says what is missing."""


@dataclass(frozen=True)
class Cost:
    """One network with one way of running: latencies in ms over `runs` runs of a batch."""

    encoder: str
    decoder: str
    size: Size
    batch: int
    mode: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    """Images a second, over all runs."""
    runs: int
    joules_per_image: float | None
    """Of the whole GPU; None where NVML does not answer."""


@dataclass(frozen=True)
class Network:
    """What a network has whatever the way of running."""

    encoder: str
    decoder: str
    size: Size
    parameters: int
    macs: int
    """Multiply-accumulates for one picture: half the operations that torch counts in convolutions,
    matrix products and attention."""
    memory: dict[str, int | None]
    """By batch: bytes that one float32 pass needs beyond the network and its input, at most. On the
    CPU measured as the growth of a fresh process; None where the system does not tell."""


def bench(
    models: Sequence[ModelSpec],
    sizes: Sequence[Size],
    device_name: str,
    repeats: int = REPEATS,
    modes: Sequence[str] = (),
    batches: Sequence[int] = BATCHES,
    step: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda doing: None,
) -> dict[str, Any]:
    """Measures each model (one encoder, one decoder) at each size, batch and mode, all by default.

    `networks` and `costs` of the answer are `Network` and `Cost`; `notes` say what could not be
    measured, and why. `step` is told how many networks are done, `say` what begins. Raises
    ConfigError for an unknown encoder or mode, DeviceError.
    """
    for mode in modes:
        if mode not in MODES:
            raise ConfigError(f"unknown mode '{mode}'; {did_you_mean(mode, MODES)}")
    device = pick(device_name)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    networks: list[Network] = []
    costs: list[Cost] = []
    notes: dict[str, None] = {}
    done, total = 0, len(models) * len(sizes)
    for spec in models:
        for size in sizes:
            # A fresh one each time: nothing of a mode (a memory layout) is left for the next size.
            network = _network(spec, size)
            network.check_size()
            network.to(device)
            what = f"{spec.encoder} {size[0]}x{size[1]}"
            say(f"{what}: parameters, operations, memory")
            networks.append(_counted(network, size, batches, device))
            for mode in modes or MODES:
                say(f"{what}: {mode}")
                try:
                    costs += _costs(network, size, batches, mode, device, repeats)
                except UnavailableError as error:
                    notes[f"{mode}: {error}"] = None
            done += 1
            step(done, total)
    if device.type == "cuda" and energy_meter.meter(device) is None:
        notes["energy: NVML does not answer"] = None
    return {
        "device": _described(device),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_before": load,
        "networks": networks,
        "costs": costs,
        "notes": list(notes),
    }


def _network(spec: ModelSpec, size: Size) -> DepthNet:
    data = DataSpec(source="synthetic", size=size)
    return DepthNet(spec.model_copy(update={"pretrained": False}), data).eval()


def _counted(
    network: DepthNet, size: Size, batches: Sequence[int], device: torch.device
) -> Network:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(_rgb(1, size, device))
    memory = {str(batch): _memory(network, size, batch, device) for batch in batches}
    parameters = sum(p.numel() for p in network.parameters())
    macs = counter.get_total_flops() // 2
    encoder, decoder = str(network.spec.encoder), str(network.spec.decoder)
    return Network(encoder, decoder, size, parameters, macs, memory)


def _costs(
    network: DepthNet,
    size: Size,
    batches: Sequence[int],
    mode: str,
    device: torch.device,
    repeats: int,
) -> Iterator[Cost]:
    encoder, decoder = str(network.spec.encoder), str(network.spec.decoder)
    joules = energy_meter.meter(device)
    with MODES[mode](network, device) as run, torch.inference_mode():
        for batch in batches:
            rgb = _rgb(batch, size, device)
            for _ in range(WARM_UP):
                run(rgb)
            _wait(device)
            before_j = joules() if joules else 0.0
            took_s = _timed(partial(run, rgb), device, repeats)
            used_j = joules() - before_j if joules else None
            p50, p95, p99 = (float(1000 * t) for t in np.percentile(took_s, (50, 95, 99)))
            images = batch * len(took_s)
            each_j = None if used_j is None else used_j / images
            fps = images / sum(took_s)
            yield Cost(encoder, decoder, size, batch, mode, p50, p95, p99, fps, len(took_s), each_j)


def _timed(run: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    took_s: list[float] = []
    until = time.perf_counter() + MOST_S
    while len(took_s) < repeats and (len(took_s) < LEAST or time.perf_counter() < until):
        began = time.perf_counter()
        run()
        _wait(device)
        took_s.append(time.perf_counter() - began)
    return took_s


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _rgb(batch: int, size: Size, device: torch.device) -> Tensor:
    return torch.rand((batch, 3, *size), generator=torch.Generator().manual_seed(0)).to(device)


@contextlib.contextmanager
def _float32(network: DepthNet, device: torch.device) -> Iterator[Run]:
    yield network


@contextlib.contextmanager
def _bf16(network: DepthNet, device: torch.device) -> Iterator[Run]:
    if not native_bf16(device):
        raise UnavailableError("the device does not compute in it")
    with torch.autocast(device.type, torch.bfloat16):
        yield network


@contextlib.contextmanager
def _channels_last(network: DepthNet, device: torch.device) -> Iterator[Run]:
    network.to(memory_format=torch.channels_last)
    try:
        yield lambda rgb: network(rgb.contiguous(memory_format=torch.channels_last))
    finally:
        network.to(memory_format=torch.contiguous_format)


@contextlib.contextmanager
def _compiled(network: DepthNet, device: torch.device) -> Iterator[Run]:
    torch._dynamo.reset()
    try:
        compiled = torch.compile(network, dynamic=False)
        with torch.inference_mode():
            compiled(_rgb(1, network.data.size, device))
    except Exception as error:  # a missing compiler, or what it says: nothing common to all
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnavailableError(f"torch.compile fails here ({first})") from None
    yield compiled
    torch._dynamo.reset()


@contextlib.contextmanager
def _onnx(network: DepthNet, device: torch.device) -> Iterator[Run]:
    if device.type != "cpu":
        raise UnavailableError("onnxruntime is measured on the CPU only")
    try:
        run = onnx_run(network)
    except WeightsearchError as error:
        raise UnavailableError(str(error)) from None
    yield lambda rgb: run(rgb.numpy())


MODES: dict[str, Callable[[DepthNet, torch.device], contextlib.AbstractContextManager[Run]]] = {
    "float32": _float32,
    "bf16": _bf16,
    "channels_last": _channels_last,
    "compiled": _compiled,
    "onnx": _onnx,
}
"""Ways of running a network, one change against float32 each: in the block, the function does."""


def _memory(network: DepthNet, size: Size, batch: int, device: torch.device) -> int | None:
    if device.type == "cuda":
        rgb = _rgb(batch, size, device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        with torch.inference_mode():
            network(rgb)
        return int(torch.cuda.max_memory_allocated(device) - before)
    if platform.system() != "Linux":
        return None
    # In a process of its own: what this one has freed, and not given back, would be used again.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_growth, network.spec, size, batch).result()


def _growth(spec: ModelSpec, size: Size, batch: int) -> int:
    """Bytes by which this process grew at most while the network ran once (proc(5): VmHWM)."""
    network, rgb = _network(spec, size), _rgb(batch, size, torch.device("cpu"))
    with contextlib.suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)  # what was freed would be used again, and not seen
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
    before = _status("VmRSS")
    with torch.inference_mode():
        network(rgb)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def _described(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "cpu"

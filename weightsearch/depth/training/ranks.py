"""One full run over several devices of a machine: each rank takes a share of every batch.

Ranks are processes that hold the same lane and take the same steps. Of a batch each predicts its
share; the predictions of all are put together, so that loss and weighting are of the whole batch
on every rank, as with micro-batches; gradients are summed, and batch normalisation has the
statistics of the whole batch. The first rank is the worker. It alone knows the ledger, validates
and saves; the others (depth/rank_process.py) follow until it ends them, or is gone.

torch.distributed without Fabric or DistributedDataParallel, which want the parameters of a module:
here they are a lane's tensors.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from weightsearch.errors import DeviceError
from weightsearch.runtime import child_python, out_of_memory, own_traceback
from weightsearch.study.objective_contract import Context

TIMEOUT = timedelta(hours=1)
"""Of a rank that waits for the others: the first validates and saves alone."""
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Gradients are nobody's business on the network."""


READY, DONE, OUT_OF_MEMORY = "ready", "done", "out of memory"
"""What another rank says of itself, each at the beginning of a line."""


class RankLost(Exception):
    """A process of the run is gone: the attempt is lost, as when the worker's own is."""


class RankOutOfMemory(Exception):
    """Memory ran out in another rank: the attempt is as one that ran out of it in the worker, and
    all ranks of the next are to take less."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that train one network."""

    rank: int
    count: int

    def whole(self, own: Tensor, sizes: Collection[int]) -> Tensor:
        """The predictions of all ranks, of shares of these sizes; gradients flow to `own` alone."""
        parts = []
        for rank, size in enumerate(sizes):
            mine = rank == self.rank
            part = own.detach().contiguous() if mine else own.new_empty(size, *own.shape[1:])
            with lost():
                dist.broadcast(part, rank)
            parts.append(own if mine else part)
        return torch.cat(parts)

    def check_place(self, epoch: int, step: int, on: torch.device) -> None:
        """Raises RankLost in all ranks unless they go on from the same epoch and step."""
        places = torch.zeros(self.count, 2, dtype=torch.int64, device=on)
        places[self.rank] = torch.tensor((epoch, step))
        with lost():
            dist.all_reduce(places)
        found = sorted(set(map(tuple, places.tolist())))
        if len(found) > 1:
            said = " and ".join(f"epoch {epoch}, step {step}" for epoch, step in found)
            raise RankLost(f"ranks must go on from one place, but stand at {said}")

    def add_up(self, gradients: Collection[Tensor]) -> None:
        """Puts the sum over all ranks in the place of each gradient."""
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with lost():
            dist.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, total in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(total.view(gradient.shape))


class _Sum(torch.autograd.Function):
    """Over all ranks, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.contiguous().clone()
        with lost():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


def _sum(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)
    return total


class WholeBatchNorm(TorchFunctionMode):
    """Batch normalisation, of whatever layer, by the mean and variance over all ranks.

    torch's SyncBatchNorm is for CUDA alone, and replaces layers, which timm has of its own.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.batch_norm:
            return batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.batch_norm of x (b, c, ...), where it trains by the statistics of all ranks' x."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    wide = x.float()
    around = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    # Shares may differ in size. Of deviations, not of squares, which would cancel.
    count = _sum(wide.new_tensor([wide.numel() / wide.shape[1]]))
    mean = _sum(wide.sum(around)) / count
    centred = wide - mean.view(shape)
    variance = _sum(centred.square().sum(around)) / count
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean, momentum)
        if running_var is not None:
            running_var.lerp_(variance * count / (count - 1), momentum)
    y = centred * torch.rsqrt(variance + eps).view(shape)
    if weight is not None:
        y = y * weight.view(shape)
    if bias is not None:
        y = y + bias.view(shape)
    return y.to(x.dtype)


def counted(context: Context) -> int:
    """How many ranks a run has: one, unless it is a full run of a study that asks for more.

    Raises DeviceError where this machine has not so many.
    """
    asked = context.spec.promote.devices if context.final and context.spec.promote else 1
    kind, _, first = context.device.partition(":")
    there = torch.cuda.device_count() - int(first or 0) if kind == "cuda" else None
    if asked == "auto":
        return 1 if there is None else max(1, there)
    if there is not None and asked > there:
        raise DeviceError(
            f"promote.devices must be at most the GPUs from {context.device} on, but is {asked},"
            f" and there are {there}; lower it, or use another machine."
        )
    return asked


def device(first: str, rank: int) -> str:
    """That of a rank, from that of the first."""
    kind, _, number = first.partition(":")
    return f"{kind}:{int(number or 0) + rank}" if kind == "cuda" else first


@contextlib.contextmanager
def joined(
    weights: Mapping[str, float], params: Mapping[str, Any], context: Context
) -> Iterator[Ranks | None]:
    """The first rank of a run, whose other ranks live while the block runs; None where it has one.

    Raises RankLost, RankOutOfMemory, DeviceError.
    """
    count = counted(context)
    if count == 1:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        meeting = str(Path(folder, "meeting"))
        others = [
            stack.enter_context(
                _started(rank, _told(weights, params, context, rank, count, meeting))
            )
            for rank in range(1, count)
        ]
        for rank, other in enumerate(others, 1):
            if not other.is_ready():
                ended = child_python.how_ended(other.process.wait())
                raise other.why or RankLost(f"rank {rank} {ended} before training")
        try:
            with group(Ranks(0, count), context.device, meeting) as ranks:
                for other in others:
                    other.watch(_wait_no_more)
                yield ranks
        except RankLost as error:
            for other in others:
                other.end()
                if other.why is not None:
                    raise other.why from error
            raise


@contextlib.contextmanager
def group(ranks: Ranks, first: str, meeting: str) -> Iterator[Ranks]:
    """The ranks, once all have met at this file."""
    os.environ |= {name: os.environ.get(name, value) for name, value in LOOPBACK.items()}
    hook = sys.excepthook
    backend = "nccl" if first.startswith("cuda") else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(device(first, ranks.rank))
    with lost():
        dist.init_process_group(
            backend,
            init_method=f"file://{meeting}",
            rank=ranks.rank,
            world_size=ranks.count,
            timeout=TIMEOUT,
        )
    try:
        yield ranks
    finally:
        dist.destroy_process_group()
        sys.excepthook = hook  # torch writes the rank before each line of a traceback


def _wait_no_more() -> None:
    """For the others in what was begun: raises RankLost in whoever waits. Gloo sees by itself that
    one is gone; NCCL would wait for `TIMEOUT`."""
    whole = dist.group.WORLD
    if whole is not None and dist.get_backend(whole) == "nccl":
        whole.abort()


@contextlib.contextmanager
def lost() -> Iterator[None]:
    """Raises RankLost where the others cannot be reached."""
    try:
        yield
    except dist.DistError as error:
        raise RankLost(f"another rank is gone: {str(error).splitlines()[0]}") from error
    except RuntimeError as error:
        if "gloo" not in str(error).lower():
            raise
        raise RankLost(f"another rank is gone: {str(error).splitlines()[0]}") from error


def _told(
    weights: Mapping[str, float],
    params: Mapping[str, Any],
    context: Context,
    rank: int,
    count: int,
    meeting: str,
) -> dict[str, Any]:
    """What depth/rank_process.py reads; its context is the worker's, on a device of its own."""
    plain = ("study", "seed", "fold", "epochs", "patience", "data_digest", "shrink")
    paths = {"folder": context.folder, "home": context.home, "data": context.data}
    return {
        "rank": rank,
        "count": count,
        "meeting": meeting,
        "first": context.device,
        "weights": dict(weights),
        "params": dict(params),
        "spec": context.spec.resolved(),
        "context": {name: getattr(context, name) for name in plain},
        "paths": {name: path and str(path) for name, path in paths.items()},
    }


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Around what another rank does: lets the first know that memory ran out in it."""
    try:
        yield
    except Exception as error:
        if out_of_memory.said_by(error):
            print(f"{OUT_OF_MEMORY}: {own_traceback.line(error)}", flush=True)
        raise


@dataclass
class Other:
    """The process of another rank, as the first sees it."""

    rank: int
    process: subprocess.Popen[str]
    why: RankOutOfMemory | None = None
    """It ended."""
    watching: threading.Thread | None = None

    def is_ready(self) -> bool:
        """Waits until it is, or has ended; what libraries print there is passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if self._hear(line) == READY:
                return True
            if self.why is not None:
                break
        return False

    def watch(self, gone: Callable[[], None]) -> None:
        """From now on hears what it says; `gone` is called once it ends before its time."""

        def listen() -> None:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                if self._hear(line) == DONE:
                    return
                if self.why is not None:
                    break  # it has yet to leave, and may wait for us in that
            gone()

        self.watching = threading.Thread(target=listen, daemon=True)
        self.watching.start()

    def end(self) -> None:
        """Its last words are heard then."""
        self.process.kill()
        if self.watching is not None:
            self.watching.join()

    def _hear(self, line: str) -> str:
        if line.startswith(OUT_OF_MEMORY):
            said = line.removeprefix(OUT_OF_MEMORY).lstrip(": ").strip()
            self.why = RankOutOfMemory(f"in rank {self.rank}: {said}")
        return line.strip()


@contextlib.contextmanager
def _started(rank: int, told: Mapping[str, Any]) -> Iterator[Other]:
    with subprocess.Popen(
        child_python.command("weightsearch.depth.rank_process"),
        env=child_python.environment(),
        stdin=subprocess.PIPE,  # kept open: its end says that we are gone
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # signals reach the worker, which ends it
    ) as process:
        other = Other(rank, process)
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it is seen to have ended
                print(json.dumps(told), file=process.stdin, flush=True)
            yield other
        finally:
            other.end()

"""The trainer: data and network graph built once, many trials trained with them.

The route of one step: `Trainer.run` → `_epoch` takes a batch (batches.py) → `_step` augments it,
predicts (depth/network/depth_net.py), compares (depth/loss/weighted_sum.py) and moves the lane.
What makes one trial differ from another is in its `Lane`; the trainer itself holds nothing that
training changes.
"""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.utils.checkpoint import checkpoint

from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.loss import weighted_sum, weightings
from weightsearch.depth.loss.terms import counted, share
from weightsearch.depth.loss.weightings import Learned
from weightsearch.depth.network.checkpoint import named_tensors
from weightsearch.depth.network.cpu_convolutions import quicken
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.precision import native_bf16
from weightsearch.depth.network.prediction import Predict
from weightsearch.depth.network.targets import represent
from weightsearch.depth.training.augmentation import augment
from weightsearch.depth.training.batches import Batch, Frames, stream
from weightsearch.depth.training.trial_state import OPTIMIZERS, Lane
from weightsearch.errors import DataError, Interrupted, NonFiniteLoss
from weightsearch.study.spec import ModelSpec, StudySpec

CHECK_EVERY = 16  # steps between looks at the loss: each waits for the device, and costs a little
WARM_UP, TIMED = 2, 9  # pictures before and while the latency is measured

FEW = 0.05
"""A term that is computed of a smaller share of its pixels, pairs or windows is worth a word."""

log = logging.getLogger(__name__)

Validate = Callable[[Predict], Scores]
"""Scores a network's predictions on the validation frames."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave."""

    number: int
    """From 1."""
    losses: dict[str, float]
    """Means over the steps: `loss`, and, of terms whose weight is not 0, `loss_TERM` before
    weighting and `counted_TERM`, the share of the term's pixels, pairs or windows that it was
    computed of. Of all terms `share_TERM`, of the loss, and `gradient_share_TERM`, of the norms of
    the gradients at the network's output (`weighted_sum.gradient_norms`). Where the weighting is
    learned, `weight_TERM`: the mean of the weights, made to sum to 1 in each step. Each kind sums
    to 1."""
    scores: Scores
    """Of the validation frames."""
    seconds: float
    images_per_second: float
    """In training, without validation."""


class Trainer:
    """Trains lanes of one encoder and decoder on one set of frames.

    `model` names a single encoder and decoder.
    """

    def __init__(
        self, spec: StudySpec, model: ModelSpec, frames: Frames, device: torch.device
    ) -> None:
        assert spec.data is not None
        self.device = device
        self.spec, self.data, self.train, self.model = spec, spec.data, spec.train, model
        self.frames = frames
        self.bf16 = self.train.precision == "bf16" or (
            self.train.precision == "auto" and native_bf16(self.device)
        )
        self.steps = frames.steps(self.train.batch)
        # Only its structure is used: each call takes the tensors of a lane instead of its own.
        self._graph = self._build(spec.train.seed)
        self._graph.check_size(min(self.train.batch, len(frames.names)))
        if device.type == "cpu":
            quicken(self._graph)
        self.looks_at_batches = any(isinstance(m, _BatchNorm) for m in self._graph.modules())
        self.encoder_origin = self._graph.encoder.origin
        self._initial = spec.train.seed, _values(self._graph)
        self._counted: dict[str, float] = {}
        self._validation_s = 0.0
        self.parameters = sum(p.numel() for p in self._graph.parameters())
        self._latency_ms: float | None = None

    def lane(
        self,
        weights: Mapping[str, float],
        seed: int,
        lr: float,
        shrink: int = 0,
        learned: Learned | None = None,
    ) -> Lane:
        """A new trial, always from the same initial state for the same seed.

        With a `learned` weighting, `weights` say nothing. Raises DataError where the frames have
        nothing that one of its terms could compare. Each `shrink` halves the memory for
        activations: half as many frames go through the network at once. Loss and step are still of
        the whole batch; only batch normalisation sees less, and what it then gives does not compare
        (`is_comparable`).
        """
        if self._initial[0] != seed:
            self._initial = seed, _values(self._build(seed))
        model = {name: _placed(value, self.device) for name, value in self._initial[1].items()}
        for name, _ in self._graph.named_parameters():
            model[name].requires_grad_()
        weighting = learned and learned.begin(self.spec, self.steps, self.device)
        groups: list[dict[str, Any]] = [{"params": [v for v in model.values() if v.requires_grad]}]
        if weighting is not None and weighting.trained():
            groups.append({"params": list(weighting.trained().values()), "weight_decay": 0.0})
        optimizer = OPTIMIZERS[self.train.optimizer](
            groups,
            lr=lr,
            weight_decay=self.train.weight_decay,
            fused=True,
        )
        terms = tuple(term for term in self.spec.loss.terms if learned or weights[term])
        for term in terms:
            self._check_counted(term)
        micro = max(self._graph.fewest_images, self.train.batch >> shrink)
        return Lane(
            model,
            optimizer,
            terms=terms,
            weights=torch.tensor([weights[term] for term in terms], device=self.device),
            rows=torch.zeros(self.steps, 2 * len(terms) + 2, device=self.device),
            gradient_norms=torch.zeros(len(terms), device=self.device),
            seed=seed,
            micro=micro,
            weighting=weighting,
        )

    def run(
        self,
        lane: Lane,
        epochs: int,
        validate: Validate,
        grace_s: Callable[[], float | None] = lambda: None,
    ) -> Iterator[Epoch]:
        """Trains the lane until it has done `epochs`, from wherever it stands.

        Yields after each epoch; the lane then stands at the start of the next one. On the CPU a
        lane that was saved and restored goes on bit for bit as if it had never stopped. Once
        `grace_s` gives seconds and the rest of the epoch is expected to take longer, raises
        Interrupted: the lane stands between two steps and can be saved. Raises NonFiniteLoss.
        """
        while lane.epoch < epochs:
            self._epoch(lane, grace_s)
            began = time.monotonic()
            scores = validate(self.predictor(lane, grace_s))
            self._validation_s = time.monotonic() - began
            images = self.steps * min(self.train.batch, len(self.frames.names))
            epoch = Epoch(
                number=lane.epoch + 1,
                losses=self._losses(lane),
                scores=scores,
                seconds=lane.seconds + self._validation_s,
                images_per_second=images / lane.seconds,
            )
            lane.epoch, lane.step, lane.seconds = lane.epoch + 1, 0, 0.0
            lane.rows.zero_()
            lane.gradient_norms.zero_()
            yield epoch

    def steps_s(self, lane: Lane) -> Iterator[float]:
        """Trains the lane for an epoch; of each step, the seconds that it and its batch took."""
        self._graph.train()
        began = time.perf_counter()
        for batch in self.frames.batches(self.train.batch, lane.seed, lane.epoch, lane.step):
            self._step(lane, batch)
            lane.rows[lane.step].sum().item()  # waits for the device
            lane.step += 1
            now = time.perf_counter()
            yield now - began
            began = time.perf_counter()

    def predictor(self, lane: Lane, grace_s: Callable[[], float | None] = lambda: None) -> Predict:
        """The lane's network in evaluation mode and float32, as a checkpoint of it is evaluated but
        for rounding: on a CPU, depth differed by 9e-7 of its value at most (three encoders).

        Raises Interrupted and NonFiniteLoss as `run` does.
        """
        began = time.monotonic()

        def predict(rgb: Tensor) -> Tensor:
            self._stop_in_time(began + self._validation_s - time.monotonic(), grace_s)
            self._graph.eval()
            with torch.no_grad():
                pred_m = self._forward(lane, rgb, bf16=False)
            if not pred_m.isfinite().all():
                # After a step whose loss was still finite: an evaluation would only clamp it.
                raise NonFiniteLoss(f"a predicted depth is no number after epoch {lane.epoch + 1}.")
            return pred_m

        return predict

    def is_comparable(self, lane: Lane) -> bool:
        """Whether the lane trains as one with room for the whole batch would."""
        batch = min(self.train.batch, len(self.frames.names))
        return not self.looks_at_batches or lane.micro >= batch

    def latency_ms(self, lane: Lane) -> float:
        """How long one picture takes: the median of `TIMED`, in float32, on this device with
        whatever else runs there. Measured once, because weights change nothing of it."""
        if self._latency_ms is None:
            rgb = torch.full((1, 3, *self.data.size), 0.5, device=self.device)
            self._graph.eval()
            took_s = []
            for _ in range(WARM_UP + TIMED):
                began = time.perf_counter()
                with torch.no_grad():
                    self._forward(lane, rgb, bf16=False).mean().item()  # waits for the device
                took_s.append(time.perf_counter() - began)
            self._latency_ms = 1000 * statistics.median(took_s[WARM_UP:])
        return self._latency_ms

    def _build(self, seed: int) -> DepthNet:
        """The network as `seed` makes it, on the CPU, so that all devices start alike."""
        torch.manual_seed(stream(seed))
        return DepthNet(self.model, self.data, self.frames.typical_m)

    def _epoch(self, lane: Lane, grace_s: Callable[[], float | None]) -> None:
        """Trains to the end of the epoch; `lane.rows` then holds all its steps."""
        began = time.monotonic()
        self._graph.train()
        for batch in self.frames.batches(self.train.batch, lane.seed, lane.epoch, lane.step):
            self._step(lane, batch)
            lane.step += 1
            if self._looked_at(lane.step):
                self._check(lane)
            now = time.monotonic()
            lane.seconds, began = lane.seconds + now - began, now
            left_s = (self.steps - lane.step) * lane.seconds / lane.step + self._validation_s
            self._stop_in_time(left_s, grace_s)

    def _step(self, lane: Lane, batch: Batch) -> None:
        # All randomness of a step comes from its place, so that a resumed run draws the same: the
        # global state serves stochastic depth and dropout, the generator augmentation.
        torch.manual_seed(stream(lane.seed, lane.epoch, lane.step))
        generator = torch.Generator().manual_seed(stream(lane.seed, lane.epoch, lane.step, 1))
        rgb, depth_m = augment(
            batch.rgb.to(self.device), batch.depth_m.to(self.device), self.train.augment, generator
        )
        pred_m = self._in_parts(lane, rgb / 255)
        valid = depth_m > 0
        terms = weighted_sum.compare(lane.terms, pred_m, depth_m, valid, self.data)
        loss, weights = self._total(lane, terms)
        if self._looked_at(lane.step + 1):
            lane.gradient_norms += weighted_sum.gradient_norms(terms, weights, pred_m, self.data)
        lane.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.train.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(lane.trained().values(), self.train.clip_norm)
        lane.optimizer.step()
        # Squares, because SSIM squares: a prediction can be too large for it and still a number.
        finite = represent(pred_m.detach(), self.data).flatten(1).square().sum(1).isfinite()
        place = torch.where(finite.all(), -1, finite.int().argmin())
        counted = [share(term, valid) for term in terms]
        row = torch.stack([*terms.values(), *counted, loss, place.float()])
        lane.rows[lane.step] = row.detach()

    def _total(self, lane: Lane, terms: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss of the lane's next step, and the weights in it."""
        if lane.weighting is None:
            return weighted_sum.total(terms, lane.weights), lane.weights
        seed = stream(lane.seed, lane.epoch, lane.step, 2)
        at = weightings.Step(seed, lane.epoch, lane.step, self.steps)
        return lane.weighting.total(torch.stack(tuple(terms.values())), at)

    def _in_parts(self, lane: Lane, rgb: Tensor) -> Tensor:
        """Predictions of a batch, of which no more than `lane.micro` frames keep activations.

        Those of the other frames are computed again on the way back (torch.utils.checkpoint).
        """
        if lane.micro >= len(rgb):
            return self._forward(lane, rgb, self.bf16)

        def forward(part: Tensor) -> Tensor:
            return self._forward(lane, part, self.bf16)

        # Even parts: of what is left over, one image could be too few for batch normalisation.
        parts = [
            checkpoint(forward, part, use_reentrant=False, context_fn=self._twice)
            for part in torch.tensor_split(rgb, len(rgb) // lane.micro)
        ]
        return torch.cat(parts)

    def _twice(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Around the first forward pass, and around the second: running means move once."""
        return contextlib.nullcontext(), self._means_held()

    @contextlib.contextmanager
    def _means_held(self) -> Iterator[None]:
        layers = [m for m in self._graph.modules() if isinstance(m, _NormBase) and m.momentum]
        momenta = [layer.momentum for layer in layers]
        try:
            for layer in layers:
                layer.momentum = 0.0
            yield
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum

    def _forward(self, lane: Lane, rgb: Tensor, bf16: bool) -> Tensor:
        rgb = rgb.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            return functional_call(self._graph, lane.model, (rgb,))  # type: ignore[no-any-return]

    def _check_counted(self, term: str) -> None:
        """Says where a term compares little of sparse ground truth; DataError where nothing."""
        what = counted(term).what
        if term not in self._counted:
            self._counted[term] = share(term, self.frames.valid).item()
            if 0 < self._counted[term] < FEW:
                percent = 100 * self._counted[term]
                log.warning("term '%s' compares %.2g %% of its %s only", term, percent, what)
        if not self._counted[term]:
            height, width = self.data.size
            raise DataError(
                f"term '{term}' must have {what} with valid depth to compare, but at"
                f" {height}x{width} none of {len(self.frames.valid)} training frames looked at has"
                " any; take a smaller data.size, or leave the term out."
            )

    def _looked_at(self, steps: int) -> bool:
        """Whether the step after which so many are done is one of those that are measured."""
        return steps % CHECK_EVERY == 0 or steps == self.steps

    def _losses(self, lane: Lane) -> dict[str, float]:
        """What `Epoch.losses` says of the epoch that the lane has just done."""
        means, count = lane.rows.mean(0), len(lane.terms)
        found = {"loss": means[-2].item()}
        for i, term in enumerate(lane.terms):
            found |= {f"loss_{term}": means[i].item()}
            found |= {f"counted_{term}": means[count + i].item()}
        weighted = means[:count] * lane.weights
        if lane.weighting is not None:
            weighted = (lane.rows[:, :count] * lane.weighting.rows).mean(0)
            shown = zip(lane.terms, lane.weighting.means().tolist(), strict=True)
            found |= {f"weight_{term}": weight for term, weight in shown}
        parts = {"share": weighted, "gradient_share": lane.gradient_norms}
        for kind, values in parts.items():
            shares = (values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)).tolist()
            known = dict(zip(lane.terms, shares, strict=True))
            found |= {f"{kind}_{term}": known.get(term, 0.0) for term in self.spec.loss.terms}
        return found

    def _check(self, lane: Lane) -> None:
        """Raises NonFiniteLoss for the first step of the epoch whose loss is not a number."""
        rows = lane.rows[: lane.step]
        bad = (~rows[:, :-1].isfinite()).any(1).cpu()  # the one place that waits for the device
        if not bad.any():
            return
        step = int(bad.int().argmax())
        *values, loss, place = rows[step].tolist()
        named = zip((*lane.terms, "loss"), (*values[: len(lane.terms)], loss), strict=True)
        term, value = next((n, v) for n, v in named if not math.isfinite(v))
        chunk = self.frames.order(self.train.batch, lane.seed, lane.epoch)[step]
        which = "first in frame" if place >= 0 else "in the batch of frame"
        raise NonFiniteLoss(
            f"term '{term}' is {value} in epoch {lane.epoch + 1}, step {step + 1}, {which}"
            f" '{self.frames.names[chunk[max(0, int(place))]]}'."
        )

    @staticmethod
    def _stop_in_time(left_s: float, grace_s: Callable[[], float | None]) -> None:
        """Raises Interrupted once a stop was asked for that does not leave `left_s` seconds."""
        given_s = grace_s()
        if given_s is not None and (left_s > given_s or given_s <= 0):
            raise Interrupted(f"{left_s:.0f} s of the epoch were left, and {given_s:.0f} s given.")


def _values(net: DepthNet) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in named_tensors(net).items()}


def _placed(value: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, convolutions laid out channels_last."""
    layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
    return torch.empty_like(value, device=device, memory_format=layout).copy_(value)

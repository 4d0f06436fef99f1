"""The trainer: data and network graph built once, many trials trained with them.

The route of one step: `Trainer.run` → `_epoch` takes a batch (batches.py) → `_augmented` changes it
(augmentation.py) → `_move` predicts (forward.py), compares (depth/loss/weighted_sum.py) and moves
the lane; what its rows come to, epoch_record.py says. What makes one trial differ from another is
in its `Lane`; the trainer itself holds nothing that training changes.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.loss import weighted_sum, weightings
from weightsearch.depth.loss.terms import counted, share
from weightsearch.depth.loss.weightings import Learned
from weightsearch.depth.network import starting
from weightsearch.depth.network.checkpoint import named_tensors
from weightsearch.depth.network.cpu_convolutions import quicken
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.precision import native_bf16
from weightsearch.depth.network.prediction import Predict
from weightsearch.depth.network.targets import represent
from weightsearch.depth.training import (
    averaging,
    epoch_record,
    forward,
    freezing,
    optimizers,
    schedules,
)
from weightsearch.depth.training.augmentation import augment
from weightsearch.depth.training.batches import Batch, Frames, stream
from weightsearch.depth.training.epoch_record import Epoch
from weightsearch.depth.training.recorded_steps import RECORDS, Recorder
from weightsearch.depth.training.trial_state import Lane
from weightsearch.errors import DataError, Interrupted, NonFiniteLoss
from weightsearch.study.spec import ModelSpec, StudySpec

CHECK_EVERY = 16  # steps between looks at the loss: each waits for the device, and costs a little
WARM_UP, TIMED = 2, 9  # pictures before and while the latency is measured

FEW = 0.05
"""A term that is computed of a smaller share of its pixels, pairs or windows is worth a word."""

log = logging.getLogger(__name__)

Validate = Callable[[Predict], Scores]
"""Scores a network's predictions on the validation frames."""


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
        self.most_at_once = self.train.batch  # frames that go through the network here
        self.share = min(self.train.batch, len(frames.names))  # of each batch, here at least
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
        self.recorder = Recorder(self._stepped, RECORDS.get(device.type))

    def lane(
        self,
        weights: Mapping[str, float],
        seed: int,
        lr: float,
        shrink: int = 0,
        learned: Learned | None = None,
        epochs: int | None = None,
    ) -> Lane:
        """A new trial, always from the same initial state for the same seed.

        With a `learned` weighting, `weights` say nothing. The run has `epochs`, or `train.epochs`:
        its schedule is of so many. Raises DataError where the frames have nothing that one of its
        terms could compare. Each `shrink` halves the memory for activations: half as many frames go
        through the network at once. Loss and step are still of the whole batch; only batch
        normalisation sees less, and what it then gives does not compare (`is_comparable`).
        """
        if self._initial[0] != seed:
            self._initial = seed, _values(self._build(seed))
        model = {name: _placed(value, self.device) for name, value in self._initial[1].items()}
        for name, _ in self._graph.named_parameters():
            model[name].requires_grad_()
        weighting = learned and learned.begin(self.spec, self.steps, self.device)
        terms = tuple(term for term in self.spec.loss.terms if learned or weights[term])
        for term in terms:
            self._check_counted(term)
        micro = max(self._graph.fewest_images, self.most_at_once >> shrink)
        return Lane(
            model,
            optimizers.build(self.train, model, weighting, lr),
            terms=terms,
            weights=torch.tensor([weights[term] for term in terms], device=self.device),
            rows=torch.zeros(self.steps, 2 * len(terms) + 2, device=self.device),
            gradient_norms=torch.zeros(len(terms), device=self.device),
            seed=seed,
            micro=micro,
            weighting=weighting,
            schedule=schedules.of(self.train, self.steps * (epochs or self.train.epochs)),
            average=averaging.of(self.train, model),
            frozen_epochs=freezing.epochs(self.train),
        )

    def run(
        self,
        lane: Lane,
        epochs: int,
        validate: Validate,
        grace_s: Callable[[], float | None] = lambda: None,
        beside: Sequence[Lane] = (),
    ) -> Iterator[Epoch]:
        """Trains the lane until it has done `epochs`, from wherever it stands.

        Of the lanes `beside` it, looked at anew before each epoch, those of its seed that stand in
        the same epoch are trained on the same batches, as `_epoch` says; their own runs then find
        the epoch trained.

        Yields after each epoch; the lane then stands at the start of the next one. On the CPU a
        lane that was saved and restored goes on bit for bit as if it had never stopped. Once
        `grace_s` gives seconds and the rest of the epoch is expected to take longer, raises
        Interrupted: the lane stands between two steps and can be saved. Raises NonFiniteLoss.
        """
        try:
            while lane.epoch < epochs:
                if lane.failure is None:
                    others = [
                        other for other in beside if other is not lane and other.is_beside(lane)
                    ]
                    self._epoch([lane, *others], grace_s)
                if lane.failure is not None:
                    failure, lane.failure = lane.failure, None  # its traceback holds the lane
                    raise failure
                began = time.monotonic()
                scores = validate(self.predictor(lane, grace_s))
                self._validation_s = time.monotonic() - began
                images = self.steps * min(self.train.batch, len(self.frames.names))
                epoch = Epoch(
                    number=lane.epoch + 1,
                    losses=epoch_record.losses(lane, self.spec.loss.terms),
                    scores=scores,
                    seconds=lane.seconds + self._validation_s,
                    images_per_second=images / lane.seconds,
                )
                lane.epoch, lane.step, lane.seconds = lane.epoch + 1, 0, 0.0
                lane.rows.zero_()
                lane.gradient_norms.zero_()
                yield epoch
        finally:
            self.recorder.forget(lane)

    def steps_s(self, *lanes: Lane) -> Iterator[float]:
        """Trains lanes that stand at one place for an epoch, together; of each step, the seconds
        that it and its batch took."""
        one, began = lanes[0], time.perf_counter()
        freezing.set_mode(self._graph, one.is_frozen())
        for batch in self.frames.batches(self.train.batch, one.seed, one.epoch, one.step):
            self._moved(lanes, batch)
            one.rows[one.step - 1].sum().item()  # waits for the device
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
        return not self.looks_at_batches or self._parts(lane) == 1

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
                    pred_m = self._forward(lane, rgb, bf16=False)
                    pred_m.mean().item()  # waits for the device
                took_s.append(time.perf_counter() - began)
            self._latency_ms = 1000 * statistics.median(took_s[WARM_UP:])
        return self._latency_ms

    def _build(self, seed: int) -> DepthNet:
        """The network as `seed` makes it, on the CPU, so that all devices start alike."""
        torch.manual_seed(stream(seed))
        return starting.network(self.model, self.data, self.train.init, self.frames.typical_m)

    def _epoch(self, lanes: Sequence[Lane], grace_s: Callable[[], float | None]) -> None:
        """Trains lanes of one seed and epoch to its end; `rows` then hold all its steps.

        Each takes part from the step on at which it stands, as if it were alone. What a lane fails
        of is kept as its `failure`, and the others go on without it; but of no memory all do.
        """
        first = min(lane.step for lane in lanes)
        if first:
            self._stop_in_time(self._left_s(lanes), grace_s)
        freezing.set_mode(self._graph, lanes[0].is_frozen())  # of one epoch, and one spec
        began = time.monotonic()
        seed, epoch = lanes[0].seed, lanes[0].epoch
        for step, batch in enumerate(
            self.frames.batches(self.train.batch, seed, epoch, first), first
        ):
            here = [lane for lane in lanes if lane.step == step and lane.failure is None]
            self._moved(here, batch)
            now = time.monotonic()
            for lane in here:
                lane.seconds += (now - began) / len(here)
            began = now
            going = [lane for lane in lanes if lane.failure is None]
            if not going:
                break
            self._stop_in_time(self._left_s(going), grace_s)

    def _moved(self, lanes: Sequence[Lane], batch: Batch) -> None:
        """The next step of lanes that stand at the same place: at once where that was recorded
        (recorded_steps.py), else in turns."""
        if not lanes:
            return
        given = self._augmented(lanes[0], batch)
        for lane in lanes:
            lane.prepare(self._before(lane))
        looked_at = self._looked_at(lanes[0].step + 1)
        rows = None if looked_at else self.recorder.rows(lanes, *given)
        for place, lane in enumerate(lanes):
            try:
                if rows is not None:
                    lane.rows[lane.step] = rows[place]
                else:
                    self._move(lane, *given)
                lane.step += 1
                if looked_at:
                    epoch_record.check(lane, self.frames, self.train.batch)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                lane.failure = error

    def _left_s(self, lanes: Sequence[Lane]) -> float:
        """What the rest of the lanes' epoch is expected to take, with their validation."""
        steps_s = (
            lane.seconds / lane.step * (self.steps - lane.step) for lane in lanes if lane.step
        )
        return sum(steps_s) + len(lanes) * self._validation_s

    def _before(self, lane: Lane) -> int:
        """How many steps of its run the lane has done."""
        return lane.epoch * self.steps + lane.step

    def _augmented(self, lane: Lane, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the network is given in the lane's next step, rgb in 0..1, and what it is to say.

        All randomness of a step comes from its place (seed, epoch, step), here and in `_move`, so
        that a resumed run draws the same.
        """
        generator = torch.Generator().manual_seed(stream(lane.seed, lane.epoch, lane.step, 1))
        rgb, depth_m = augment(
            batch.rgb.to(self.device), batch.depth_m.to(self.device), self.train.augment, generator
        )
        return rgb / 255, depth_m

    def _move(self, lane: Lane, rgb: Tensor, depth_m: Tensor) -> None:
        """The lane's next step, written down in its row."""
        torch.manual_seed(stream(lane.seed, lane.epoch, lane.step))  # stochastic depth, dropout
        with self.recorder.turn(self.device):
            row = self._stepped(lane, rgb, depth_m, self._looked_at(lane.step + 1))
        lane.rows[lane.step] = row

    def _stepped(self, lane: Lane, rgb: Tensor, depth_m: Tensor, looked_at: bool = False) -> Tensor:
        """Moves the lane; its row. Recorded, it knows of no step but what tensors say."""
        pred_m = self._in_parts(lane, rgb)
        valid = depth_m > 0
        terms = weighted_sum.compare(lane.terms, pred_m, depth_m, valid, self.data)
        loss, weights = self._total(lane, terms)
        if looked_at:
            lane.gradient_norms += weighted_sum.gradient_norms(terms, weights, pred_m, self.data)
        lane.optimizer.zero_grad()
        self._backward(lane, loss)
        if self.train.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(lane.trained().values(), self.train.clip_norm)
        lane.move(self._before(lane))
        # Squares, because SSIM squares: a prediction can be too large for it and still a number.
        finite = represent(pred_m.detach(), self.data).flatten(1).square().sum(1).isfinite()
        place = torch.where(finite.all(), -1, finite.int().argmin())
        counted = [share(term, valid) for term in terms]
        return torch.stack([*terms.values(), *counted, loss, place.float()]).detach()

    def _total(self, lane: Lane, terms: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss of the lane's next step, and the weights in it."""
        if lane.weighting is None:
            return weighted_sum.total(terms, lane.weights), lane.weights
        seed = stream(lane.seed, lane.epoch, lane.step, 2)
        at = weightings.Step(seed, lane.epoch, lane.step, self.steps)
        return lane.weighting.total(torch.stack(tuple(terms.values())), at)

    def _backward(self, lane: Lane, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def _in_parts(self, lane: Lane, rgb: Tensor) -> Tensor:
        """Predictions of a batch, of which about `lane.micro` frames keep activations."""
        predict = partial(self._forward, lane, bf16=self.bf16)
        return forward.in_parts(self._graph, predict, rgb, self._parts(lane))

    def _parts(self, lane: Lane) -> int:
        """In how many a batch goes through the network. Of each rank the same, whose shares may
        differ: they wait for each other in every part."""
        return max(1, self.share // lane.micro)

    def _forward(self, lane: Lane, rgb: Tensor, bf16: bool) -> Tensor:
        tensors = lane.in_training() if self._graph.training else lane.evaluated()
        return forward.forward(self._graph, tensors, rgb, bf16)

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

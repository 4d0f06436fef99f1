"""A study file (TOML) as frozen values: what is asked, of which data, model, loss and sampler.

Machine facts (database, device) are never here: they are options and environment. The data's path
may be, for convenience: it is neither stored with the study nor part of what it is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from weightsearch.study import budget as budgets
from weightsearch.study import known_names, learned_weightings, weight_presets
from weightsearch.study.answer_spec import AnswerSpec
from weightsearch.study.loss_spec import LossSpec
from weightsearch.study.nightly_spec import NightlySpec
from weightsearch.study.spec_fields import Count, Part, Positive, Seed, Value

DEPTH_OBJECTIVE = "weightsearch.depth.objective:run"
NO_IDENTITY = ("goal", "answer", "retry", "nightly")
"""Tables that no result depends on."""


class ObjectiveSpec(Part):
    """What is trained, and which of its metrics decides."""

    run: str = DEPTH_OBJECTIVE
    """`package.module:function`; the contract is in `weightsearch/study/objective_contract.py`."""
    metric: str = "rmse"
    """The metric that ranks points: never the weighted loss, whose scale depends on the weights."""
    direction: Literal["minimize", "maximize"] = "minimize"
    guards: tuple[str, ...] = ("rel", "log10")
    """Metrics shown beside it."""

    @field_validator("metric")
    @classmethod
    def _not_the_loss(cls, metric: str) -> str:
        if metric == "loss":
            raise ValueError(
                "the weighted loss cannot rank points, because its scale depends on the weights;"
                " name a metric such as 'rmse'."
            )
        return metric


class DataSpec(Part):
    """Which frames, at which size, in which representation."""

    source: str
    """A reader: a key of `weightsearch.data.readers.registry.READERS`."""
    path: Path | None = Field(default=None, exclude=True)
    """Where the data set lies on this machine, relative to the study file; `--data` goes before it.
    Of this machine only: what is excluded here is neither stored nor in a digest."""
    size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]
    """Input height and width in pixels; the output is half of it."""
    target: Literal["depth", "inverse", "log"] = "depth"
    """What the loss compares: d, max_depth_m / d, or ln d, but for terms that are always of one of
    them (`depth/loss/weighted_sum.py`). Metres in, metres out in any case."""
    val: str = "blocks:10%"
    """Share of the training frames held out for validation, by scene or block, never by frame."""
    min_depth_m: Positive = 0.1
    max_depth_m: Positive = 10.0
    """Left out: the range of the reader, 80 m for KITTI (`known_names.FARTHEST_M`)."""
    limit: Count | None = None
    """At most this many frames for training and validation, whole blocks evenly spread."""
    options: dict[str, Value] = Field(default_factory=dict)
    """Options of the reader; they are part of the pack's identity."""

    @model_validator(mode="before")
    @classmethod
    def _range_of_the_reader(cls, table: Any) -> Any:
        if not isinstance(table, dict) or "max_depth_m" in table:
            return table
        options = table.get("options")
        reach_m = known_names.farthest_m(
            str(table.get("source")), options if isinstance(options, dict) else {}
        )
        return {**table, "max_depth_m": reach_m}

    @model_validator(mode="after")
    def _in_order(self) -> DataSpec:
        if self.min_depth_m >= self.max_depth_m:
            raise ValueError(
                f"`min_depth_m` must be below `max_depth_m`, but got {self.min_depth_m:g} and"
                f" {self.max_depth_m:g}."
            )
        return self

    @field_validator("val")
    @classmethod
    def _by_blocks(cls, val: str) -> str:
        kind, _, share = val.partition(":")
        try:
            percent = float(share.removesuffix("%"))
        except ValueError:
            percent = 0.0
        if kind != "blocks" or not share.endswith("%") or not 0 < percent <= 50:
            raise ValueError(f"`val` must read 'blocks:P%' with 0 < P <= 50, but got '{val}'.")
        return val


class ModelSpec(Part):
    """Encoder and decoder; a list is searched, a value is fixed."""

    encoder: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """timm names."""
    decoder: str | Annotated[tuple[str, ...], Field(min_length=1)] = "densedepth"
    width: Positive = 1.0
    """Channels of the decoder: of densedepth and nn as a share of the encoder's last (DenseDepth:
    1.0 or 0.5), of the others as a share of their published number."""
    pretrained: bool = True


class TrainSpec(Part):
    """How one point is trained; the same for all but for what is searched."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive | Annotated[tuple[Positive, ...], Field(min_length=1)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Coupled (L2) under adam and sgd, decoupled under adamw."""
    clip_norm: Positive | None = None
    batch: Count = 8
    epochs: Count = 5
    patience: Count | None = None
    """Stop after this many epochs without a better validation metric."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast where the device computes it natively, else fp32."""
    augment: tuple[Literal["mirror", "channels"], ...] = ("mirror", "channels")
    seed: Seed = 0
    """Initialisation and data order; the same for every point."""


class SamplerSpec(Part):
    """Which points, in which order."""

    kind: str = "grid"
    trials: Count | None = None
    """How many points; a grid without it is run whole."""
    seed: Seed = 0
    draw: Literal["simplex", "levels"] = "simplex"
    """Whether random draws are uniform on the simplex or on the grid's own points."""
    zero: Annotated[float, Field(ge=0, lt=1)] = 1 / 8
    """The share of random and qmc draws that leave terms out; and the share of each coordinate
    that means exactly 0 or 1 to tpe, gp and cmaes (`samplers/stick_breaking.py`)."""


class EvaluateSpec(Part):
    protocol: str = "full"


class PromoteSpec(Part):
    """How finalists are trained in full and compared."""

    protocol: str = "full"
    """For the numbers on the test split."""
    top: Count = 3
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1, 2, 3)
    """Fresh: not the search's seed. Three or more, or little can be told apart."""
    epochs: Count = 25
    patience: Count | None = 5

    @model_validator(mode="after")
    def _comparable(self) -> PromoteSpec:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"`seeds` must be distinct, but got {list(self.seeds)}.")
        if self.top > 1 and len(self.seeds) == 1:
            raise ValueError("`seeds` must be at least two where finalists are to be compared.")
        return self

    def runs(self, points: int) -> int:
        """How many full runs follow on a search of so many points."""
        return min(self.top, points) * len(self.seeds)


class RetrySpec(Part):
    """What is done about points that end without a result; no part of a study's identity."""

    attempts: Count = 3
    """How often a point is tried whose worker or device is lost, or whose memory runs out."""
    epoch_limit_s: Positive | None = None
    """An epoch that takes longer is taken to hang: its process is replaced, its point retried."""


class StudySpec(Part):
    """A whole study file."""

    goal: str
    """The question that the study answers, in one sentence."""
    budget: tuple[str, ...] = Field(default=(), exclude=True)
    """What `launch` takes where it is given no `--budget`: '2h', or a list of such limits. It
    bounds how much is tried, and is no part of what the study is."""
    objective: ObjectiveSpec = ObjectiveSpec()
    data: DataSpec | None = None
    model: ModelSpec | None = None
    loss: LossSpec
    train: TrainSpec = TrainSpec()
    params: dict[str, Value | Annotated[tuple[Value, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """Other parameters for the objective; a list is searched, a value is fixed."""
    sampler: SamplerSpec = SamplerSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    promote: PromoteSpec | None = PromoteSpec()
    answer: AnswerSpec = AnswerSpec()
    retry: RetrySpec = RetrySpec()
    nightly: NightlySpec | None = None
    """What `weightsearch nightly` repeats; no part of a launched study's identity."""

    @field_validator("objective", mode="before")
    @classmethod
    def _metric_alone(cls, objective: Any) -> Any:
        return {"metric": objective} if isinstance(objective, str) else objective

    @field_validator("budget", mode="before")
    @classmethod
    def _limits(cls, budget: Any) -> Any:
        found = (budget,) if isinstance(budget, str) else budget
        if isinstance(found, list | tuple) and all(isinstance(part, str) for part in found):
            budgets.parse(found)
        return found

    @model_validator(mode="before")
    @classmethod
    def _weights_of_this_target(cls, tables: Any) -> Any:
        # Before tables stand for the names.
        loss, data = ((tables.get(part) or {}) for part in ("loss", "data"))
        if isinstance(loss, dict) and isinstance(data, dict) and data:
            target = data.get("target", DataSpec.model_fields["target"].default)
            weight_presets.check_target(loss.get("weights"), target)
            if isinstance(warm_up := loss.get("warm_up"), dict):
                weight_presets.check_target([warm_up.get(k) for k in ("start", "end")], target)
        return tables

    # Rules between tables, checked in this order: only the first that is broken is reported.

    @model_validator(mode="after")
    def _tables_of_the_depth_objective(self) -> StudySpec:
        if self.objective.run == DEPTH_OBJECTIVE:
            for part in ("data", "model"):
                if getattr(self, part) is None:
                    raise ValueError(
                        f"the table [{part}] is missing; the depth objective needs it."
                    )
        return self

    @model_validator(mode="after")
    def _names_of_the_depth_objective(self) -> StudySpec:
        if self.objective.run != DEPTH_OBJECTIVE:
            return self
        assert self.model is not None
        decoders = self.model.decoder
        for decoder in (decoders,) if isinstance(decoders, str) else decoders:
            known_names.check("decoder", decoder)
        for term in self.loss.terms:
            known_names.check("loss term", term)
        for weighting in self.loss.weightings:
            known_names.check("weighting", weighting)
        epochs = {"train.epochs": self.train.epochs}
        if self.promote is not None:
            epochs["promote.epochs"] = self.promote.epochs
        learned_weightings.check_epochs(self.loss.weightings, epochs)
        known_names.check("protocol", self.evaluate.protocol)
        if self.promote is not None:
            known_names.check("protocol", self.promote.protocol)
        return self

    @model_validator(mode="after")
    def _names_of_any_objective(self) -> StudySpec:
        if self.data is not None:
            known_names.check("reader", self.data.source)
        known_names.check("sampler", self.sampler.kind)
        return self

    @model_validator(mode="after")
    def _params_are_no_terms(self) -> StudySpec:
        for name in self.params:
            if name in self.loss.terms:
                raise ValueError(f"params.{name}: a parameter must not be named as a loss term.")
        if "weighting" in self.params:
            raise ValueError("params.weighting: the name belongs to loss.weightings.")
        return self

    @model_validator(mode="after")
    def _fresh_seeds(self) -> StudySpec:
        if self.promote is not None and self.train.seed in self.promote.seeds:
            raise ValueError(
                f"promote.seeds must be fresh, but {self.train.seed} is the search's seed"
                " (train.seed)."
            )
        return self

    @model_validator(mode="after")
    def _margin_of_this_metric(self) -> StudySpec:
        self.answer.check(self.objective.metric)
        return self

    @model_validator(mode="after")
    def _canaries_of_these_terms(self) -> StudySpec:
        if self.nightly is not None:
            self.nightly.check(self.loss.terms)
        return self

    @model_validator(mode="after")
    def _sampler_that_can_plan(self) -> StudySpec:
        kind, written = self.sampler.kind, bool(self.loss.vectors())
        if kind != "grid" and self.sampler.trials is None and not written:
            raise ValueError(
                f"sampler '{kind}' needs a number of trials; set sampler.trials or give --trials."
            )
        if kind in known_names.CHOOSING and (written or self.sampler.draw == "levels"):
            raise ValueError(
                f"sampler '{kind}' chooses the weights itself, anywhere on the simplex; it takes"
                " neither written-out weights nor draw = 'levels'."
            )
        given = kind == "grid" or written or self.sampler.draw == "levels"
        if given and self.sampler.zero != SamplerSpec().zero:
            raise ValueError(
                "sampler.zero is of draws from the whole simplex, but these points have the weights"
                " of [loss]; leave it out."
            )
        if kind == "mixture" and not 2 <= len(self.loss.terms) <= 8:
            raise ValueError(
                f"sampler 'mixture' needs 2 to 8 terms, but got {len(self.loss.terms)}; leave some"
                " out, or choose another sampler."
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, defaults included, as JSON types."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Twelve hex digits that change whenever a setting does that a result depends on.

        They name the settings, not what a release makes of them, and defaults of settings that
        older studies did not have are left out, so that these are found. That of `zero` is one,
        though `random` and `qmc` did not draw faces before there was it: a plan that is stored is
        carried on as it is, a new one of the same digest has other points.
        """
        facts = {k: v for k, v in self.resolved().items() if k not in NO_IDENTITY}
        if not self.loss.weightings:  # as before there were any
            del facts["loss"]["weightings"], facts["loss"]["warm_up"]
        if self.sampler.zero == SamplerSpec().zero:  # so that studies from before it are found
            del facts["sampler"]["zero"]
        if self._loss_was_revised():
            facts["loss"]["revision"] = 2
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _loss_was_revised(self) -> bool:
        """Whether the depth objective's loss has other values than its first revision gave.

        The second counts windows of SSIM by what of them is valid, begins logarithms at the least
        depth, limits the range of inverse depth to 100, and compares logarithms in `smoothness`.
        What the settings cannot tell is taken as revised: whether ground truth has holes.
        """
        if self.objective.run != DEPTH_OBJECTIVE or self.data is None:
            return False
        data, terms = self.data, self.loss.terms
        if "smoothness" in terms and data.target != "log":
            return True
        rooms = data.source == "synthetic" and not data.options.get("holes")
        whole = rooms and data.min_depth_m <= 0.1 and data.max_depth_m >= 10
        wide = data.target == "inverse" and data.max_depth_m > 100 * data.min_depth_m
        return "ssim" in terms and (data.target == "log" or wide or not whole)

"""A study file (TOML) as frozen values: what is asked, of which data, model, loss and sampler.

Machine facts (database, device) are never here: they are options and environment. The data's path
may be, for convenience: it is neither stored with the study nor part of what it is.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from weightsearch.study import budget as budgets
from weightsearch.study import known_names, learned_weightings, weight_presets
from weightsearch.study.answer_spec import AnswerSpec
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.looks.pruner_spec import PrunerSpec
from weightsearch.study.spec_fields import Count, Part, Positive, Seed
from weightsearch.study.tables import number_range
from weightsearch.study.tables.keep_spec import KeepSpec
from weightsearch.study.tables.loss_spec import LossSpec
from weightsearch.study.tables.nightly_spec import NightlySpec
from weightsearch.study.tables.number_range import Range, Searched
from weightsearch.study.tables.share_spec import ShareSpec
from weightsearch.study.tables.track_spec import TrackSpec
from weightsearch.study.tables.train_spec import TrainSpec

DEPTH_OBJECTIVE = "weightsearch.depth.objective:run"
SEED_STEP, MOST_SEED = 1000, 2**31 - 1
"""Between the seeds of two repeats: promotions have small ones, which must be fresh."""
NO_IDENTITY = ("goal", "answer", "keep", "retry", "track", "nightly")
"""Tables that no result depends on."""


class ObjectiveSpec(Part):
    """What is trained, and which of its metrics decides."""

    run: str = DEPTH_OBJECTIVE
    """`package.module:function`; the contract is in `weightsearch/study/objective_contract.py`."""
    metric: str = "rmse"
    """The metric that ranks points: never the weighted loss, whose scale depends on the weights."""
    direction: Literal["minimize", "maximize"] = "minimize"
    """Which values of the metric are better."""
    guards: tuple[str, ...] = ("rel", "log10")
    """Metrics shown beside it, where the objective yields them."""

    @field_validator("metric")
    @classmethod
    def _not_the_loss(cls, metric: str) -> str:
        if metric == "loss":
            raise ValueError(
                "the weighted loss cannot rank points, because its scale depends on the weights;"
                " name a metric such as 'rmse'."
            )
        return metric


class ModelSpec(Part):
    """Encoder and decoder; a list is searched, a value is fixed."""

    encoder: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """timm names."""
    decoder: str | Annotated[tuple[str, ...], Field(min_length=1)] = "densedepth"
    """Names of docs/decoders.md."""
    width: Positive = 1.0
    """Channels of the decoder: of densedepth and nn as a share of the encoder's last (DenseDepth:
    1.0 or 0.5), of the others as a share of their published number."""
    pretrained: bool = True
    """Whether encoders start from ImageNet weights."""


class SamplerSpec(Part):
    """Which points, in which order."""

    kind: str = "grid"
    """A name of docs/samplers.md."""
    trials: Count | None = None
    """How many points; a grid without it is run whole."""
    seed: Seed = 0
    """Of the order of a grid, and of what is drawn."""
    draw: Literal["simplex", "levels"] = "simplex"
    """Whether random draws are uniform on the simplex or on the grid's own points."""
    zero: Annotated[float, Field(ge=0, lt=1)] = 1 / 8
    """The share of random and qmc draws that leave terms out; and the share of each coordinate
    that means exactly 0 or 1 to tpe, gp and cmaes (`study/samplers/stick_breaking.py`)."""


class EvaluateSpec(Part):
    """How predictions are turned into numbers during the search."""

    protocol: str = "full"
    """A name of docs/protocols.md, for the numbers on the validation split."""


class PromoteSpec(Part):
    """How finalists are trained in full and compared."""

    protocol: str = "full"
    """For the numbers on the test split."""
    top: Count = 3
    """How many of the best are trained in full."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1, 2, 3)
    """Fresh: not the search's seed. Three or more, or little can be told apart."""
    epochs: Count = 25
    """Of a full run at most."""
    patience: Count | None = 5
    """A full run stops after this many epochs without a better validation metric."""
    devices: Count | Literal["auto"] = 1
    """So many GPUs of a machine train each full run together (on a CPU, so many processes); `auto`:
    all that a worker sees. No part of a study's identity: the result is the same but for rounding.
    """

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
    params: dict[str, Searched] = Field(default_factory=dict)
    """Other parameters for the objective; a list or a range ({ low, high, log }) is searched, a
    value is fixed."""
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec = PrunerSpec()
    share: ShareSpec = ShareSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    promote: PromoteSpec | None = PromoteSpec()
    answer: AnswerSpec = AnswerSpec()
    keep: KeepSpec = KeepSpec()
    retry: RetrySpec = RetrySpec()
    track: TrackSpec | None = None
    """Where it is shown beside its own database."""
    nightly: NightlySpec | None = None
    """What `weightsearch nightly` repeats; no part of a launched study's identity."""

    @field_validator("objective", mode="before")
    @classmethod
    def _metric_alone(cls, objective: Any) -> Any:
        if isinstance(objective, str) and ":" in objective:
            raise ValueError(
                "must be a metric alone, or a table that names the function: write"
                f' `[objective]` with `run = "{objective}"`.'
            )
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
        self.train.check_epochs(epochs)
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
        last = self.seed_of(self.answer.repeats - 1)
        if last > MOST_SEED:
            raise ValueError(
                f"answer.repeats = {self.answer.repeats} needs seeds up to {last}, but they must be"
                f" at most {MOST_SEED}; lower train.seed."
            )
        used = {self.seed_of(repeat) for repeat in range(self.answer.repeats)}
        for seed in sorted(used & set(self.promote.seeds if self.promote else ())):
            raise ValueError(
                f"promote.seeds must be fresh, but {seed} is a seed of the search (train.seed"
                f"{f', and {SEED_STEP} more for each repeat' if len(used) > 1 else ''})."
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _rungs_by_default(cls, tables: Any) -> Any:
        """A third of the epochs, where the pruner is to have rungs and says not which."""
        pruner, train = (tables.get(part) or {} for part in ("pruner", "train"))
        if isinstance(pruner, dict) and pruner.get("kind") == "rungs" and not pruner.get("rungs"):
            epochs = train.get("epochs") if isinstance(train, dict) else None
            whole = epochs if isinstance(epochs, int) else TrainSpec().epochs
            return {**tables, "pruner": {**pruner, "rungs": [max(1, whole // 3)]}}
        return tables

    @model_validator(mode="after")
    def _something_to_prune(self) -> StudySpec:
        self.pruner.check(self.train.epochs)
        if self.pruner.kind == "racing" and self.answer.repeats == 1:
            raise ValueError(
                "pruner 'racing' drops configurations between repeats, so answer.repeats must be 2"
                " or more, but is 1; raise it (`--repeats 3`), or choose 'rungs'."
            )
        return self

    @model_validator(mode="after")
    def _something_to_share(self) -> StudySpec:
        learned, ranges = bool(self.loss.weightings), bool(self.ranges())
        self.share.check(self.train, self.pruner.kind, self.sampler.kind, learned, ranges)
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
        number_range.check(self.ranges(), kind, self.sampler.trials)
        return self

    def ranges(self) -> dict[str, Range]:
        """The numbers that are searched between bounds, by their place in the file."""
        numbers: dict[str, object] = {"train.lr": self.train.lr}
        numbers |= {f"params.{name}": value for name, value in self.params.items()}
        return {place: value for place, value in numbers.items() if isinstance(value, Range)}

    def has_looks(self) -> bool:
        """Whether rows decide on the way what else is trained."""
        return self.pruner.kind != "none" or self.share.kind != "none"

    def seed_of(self, repeat: int) -> int:
        """The seed of a repeat, the same for every configuration; the first is `train.seed`."""
        return self.train.seed + SEED_STEP * repeat

    def stages(self) -> tuple[int, ...]:
        """The epochs at the end of each stage of a run; the last is the whole run."""
        return self.pruner.stages(self.train.epochs)

    def fold_of(self, repeat: int) -> int | None:
        """The fold that a repeat is scored on, or a promotion's run of that seed; None where the
        frames are not divided."""
        folds = self.data.folds() if self.data is not None else None
        return None if folds is None else repeat % folds

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, defaults included, as JSON types."""
        return self.model_dump(mode="json")

    def digest(self, promotion: bool = False) -> str:
        """Twelve hex digits that change whenever a setting does that a result of the search depends
        on. With `promotion` as of releases in which [promote] was part of what a study is.

        They name the settings, not what a release makes of them, and defaults of settings that
        older studies did not have are left out, so that these are found. That of `zero` is one,
        though `random` and `qmc` did not draw faces before there was it: a plan that is stored is
        carried on as it is, a new one of the same digest has other points.
        """
        left_out = NO_IDENTITY if promotion else (*NO_IDENTITY, "promote")
        facts = {k: v for k, v in self.resolved().items() if k not in left_out}
        if facts.get("promote") is not None:
            del facts["promote"]["devices"]
        facts["train"] = self.train.identity()
        if not self.loss.weightings:  # as before there were any
            del facts["loss"]["weightings"], facts["loss"]["warm_up"]
        if self.sampler.zero == SamplerSpec().zero:  # so that studies from before it are found
            del facts["sampler"]["zero"]
        if self.pruner.kind == "none":
            del facts["pruner"]
        else:  # it decides what is dropped
            facts["margin"] = str(self.answer.delta())
        del facts["share"]
        facts |= self.share.identity()
        if self.answer.repeats > 1:
            facts["repeats"] = self.answer.repeats
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

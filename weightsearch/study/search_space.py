"""What a study searches: loss weights as directions, and choices such as the encoder.

Adam's step does not change when the loss is multiplied by a constant, so (1, 1, 1) and (2, 2, 2)
are one experiment. A point is therefore kept in canonical form: its weights divided by their sum,
in exact rationals, because in floats (0.2, 0.2, 0.2) and (1, 1, 1) come out as two directions.
Where the scale does matter (SGD, coupled weight decay, gradient clipping) weights stay as given.

A learned weighting has no fixed direction. Its point has its name in `params`, and for weights
equal ones, or those where a warm-up ends.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from weightsearch.errors import ConfigError
from weightsearch.study.learned_weightings import WARM_UP
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value
from weightsearch.study.tables.loss_spec import Cube, LossSpec, Simplex
from weightsearch.study.tables.number_range import LEVELS, Range
from weightsearch.study.tables.train_spec import TrainSpec

Direction = dict[str, Fraction]
Options = tuple[Value, ...] | Range
"""What a choice is made of: a list, or any number between two bounds."""

WEIGHTING = "weighting"
"""The parameter that names a point's learned weighting; points of fixed weights lack it."""
FIXED = "fixed"
"""What stands in its place where all points have one."""

DRAW_STEPS = 10_000
"""Random directions are multiples of 1/10000: exact as decimals, finer than any run resolves."""


@dataclass(frozen=True)
class Point:
    """One configuration to try."""

    weights: Mapping[str, Fraction]
    params: Mapping[str, Value]

    @property
    def weighting(self) -> str | None:
        """The learned weighting's name; None of fixed weights."""
        return weighting_of(self.params)

    def choices(self) -> dict[str, Value]:
        """What is chosen beside how the terms are weighed."""
        return {name: value for name, value in self.params.items() if name != WEIGHTING}

    def key(self) -> str:
        """The same text for the same configuration, whoever writes it."""
        facts = {"weights": encode(self.weights), "params": dict(self.params)}
        return json.dumps(facts, sort_keys=True, separators=(",", ":"))

    def id(self) -> str:
        """Ten hex digits that name the configuration in pictures, folders and tables."""
        return hashlib.sha256(self.key().encode()).hexdigest()[:10]


def weighting_of(params: Mapping[str, Value]) -> str | None:
    """The learned weighting of a point with these parameters; None of fixed weights."""
    name = params.get(WEIGHTING)
    return None if name is None else str(name)


def encode(weights: Mapping[str, Fraction]) -> dict[str, str]:
    """Rationals as text: `{"mae": "1/3"}`."""
    return {term: str(weight) for term, weight in weights.items()}


def decode(weights: Mapping[str, str], terms: Sequence[str] = ()) -> Direction:
    """What `encode` wrote, in the order of `terms`: PostgreSQL's JSON has an order of its own."""
    return in_order({term: Fraction(weight) for term, weight in weights.items()}, terms)


def in_order(weights: Mapping[str, Fraction], terms: Sequence[str]) -> Direction:
    """The same weights, those of `terms` first and as they follow each other there."""
    return {t: weights[t] for t in dict.fromkeys([*terms, *weights]) if t in weights}


def exact(weight: float) -> Fraction:
    """The decimal that was written, not the binary float nearest to it."""
    return Fraction(repr(weight))


def written(terms: Sequence[str], given: Mapping[str, float]) -> Direction:
    """A table of weights for these terms, those that it lacks 0; not yet canonical."""
    return {term: exact(given.get(term, 0.0)) for term in terms}


def canonical(weights: Mapping[str, Fraction], directions: bool) -> Direction:
    """The weights divided by their sum; as they are where the scale matters.

    Raises ValueError for the zero point, which trains nothing.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError(f"at least one weight must be above 0, but got {encode(weights)}.")
    return {t: w / total for t, w in weights.items()} if directions else dict(weights)


def decimals(weights: Mapping[str, Fraction], places: int = 4) -> dict[str, float]:
    """Weights as decimals that sum to exactly what the rationals sum to (largest remainder)."""
    scale = 10**places
    floors = {t: math.floor(w * scale) for t, w in weights.items()}
    left = round(sum(weights.values()) * scale) - sum(floors.values())
    by_remainder = sorted(weights, key=lambda t: weights[t] * scale - floors[t], reverse=True)
    for term in by_remainder[:left]:
        floors[term] += 1
    return {t: floors[t] / scale for t in weights}


def are_directions(loss: LossSpec, train: TrainSpec) -> bool:
    """Whether a common factor of the weights changes nothing.

    Measured on 2000 steps of Adam (loss x0.2, x5): parameters move by less than 1e-7; with coupled
    weight decay 1e-2 by 2e-2, with gradient clipping by 1e-2.
    """
    if loss.directions is not None:
        return loss.directions
    coupled = train.weight_decay > 0 and train.optimizer != "adamw"
    return train.optimizer in ("adam", "adamw") and not coupled and train.clip_norm is None


def choices(spec: StudySpec) -> dict[str, Options]:
    """What is chosen beside the weights, with its options; a fixed encoder is one option."""
    found: dict[str, Options] = {}
    if spec.model is not None:
        found["encoder"] = _options(spec, spec.model.encoder)
        found["decoder"] = _options(spec, spec.model.decoder)
    if isinstance(spec.train.lr, tuple | Range):
        found["lr"] = _options(spec, spec.train.lr)
    for name, value in spec.params.items():
        found[name] = _options(spec, value)
    return found


def levels(spec: StudySpec) -> dict[str, tuple[Value, ...]]:
    """The choices as lists: of a range its `steps` levels, or without them its middle."""
    found = choices(spec).items()
    return {n: options.levels() if isinstance(options, Range) else options for n, options in found}


def has_ranges(spec: StudySpec) -> bool:
    """Whether a number is drawn between two bounds."""
    return any(isinstance(options, Range) for options in choices(spec).values())


def varied(spec: StudySpec) -> dict[str, Options]:
    """The choices of which there is more than one, and by which weighting the terms are weighed
    where there are learned ones."""
    rivals: dict[str, Options] = {}
    if spec.loss.weightings:
        rivals = {WEIGHTING: (FIXED, *spec.loss.weightings)}
    found = (choices(spec) | rivals).items()
    return {n: options for n, options in found if isinstance(options, Range) or len(options) > 1}


def has(options: Options, value: Value) -> bool:
    """Whether a choice has this option."""
    if isinstance(options, Range):
        return isinstance(value, int | float) and options.low <= value <= options.high
    return value in options


def told(options: Options) -> str:
    """`['a', 'b']`, or `1e-05 to 0.001`."""
    return options.told() if isinstance(options, Range) else str(list(options))


def learned(spec: StudySpec) -> Iterator[Point]:
    """Every learned weighting with every combination of choices; of a range with its levels."""
    names, options = list(levels(spec)), list(levels(spec).values())
    for weighting in spec.loss.weightings:
        weights = _stand_in(spec, weighting)
        for chosen in itertools.product(*options):
            yield Point(weights, dict(zip(names, chosen, strict=True)) | {WEIGHTING: weighting})


def _stand_in(spec: StudySpec, weighting: str) -> Direction:
    """What stands for the weights of a learned weighting: equal ones, or a warm-up's end."""
    given = dict.fromkeys(spec.loss.terms, 1.0)
    if weighting == WARM_UP and spec.loss.warm_up is not None:
        given = spec.loss.warm_up.end
    return canonical(written(spec.loss.terms, given), are_directions(spec.loss, spec.train))


def _options(spec: StudySpec, value: Value | Sequence[Value] | Range) -> Options:
    if isinstance(value, Range):
        given = spec.sampler.kind in LEVELS or (on_levels(spec) and value.steps is not None)
        return value.levels() if given else value
    return (value,) if isinstance(value, str | int | float) else tuple(value)


def grid(spec: StudySpec) -> Iterator[Point]:
    """Every combination of weights and choices, equivalent ones too; the zero point is left out."""
    names, options = list(levels(spec)), list(levels(spec).values())
    for chosen in itertools.product(*options):
        for weights in _canonical_grid(spec):
            yield Point(weights, dict(zip(names, chosen, strict=True)))


def grid_size(spec: StudySpec) -> int:
    """How many points `grid` yields, without making them."""
    terms, given = len(spec.loss.terms), spec.loss.weights
    if isinstance(given, Cube):
        vectors: int = len(given.levels) ** terms - (0 in given.levels)
    elif isinstance(given, Simplex):
        vectors = math.comb(given.steps + terms - 1, terms - 1)
    else:
        vectors = len(spec.loss.vectors())
    return vectors * math.prod(map(len, levels(spec).values()))


def _canonical_grid(spec: StudySpec) -> list[Direction]:
    directions = are_directions(spec.loss, spec.train)
    return [canonical(weights, directions) for weights in grid_weights(spec.loss)]


def grid_weights(loss: LossSpec) -> Iterator[Direction]:
    """The weight vectors of a grid, not yet canonical."""
    if isinstance(loss.weights, Cube):
        levels = [exact(level) for level in loss.weights.levels]
        for vector in itertools.product(levels, repeat=len(loss.terms)):
            if any(vector):
                yield dict(zip(loss.terms, vector, strict=True))
    elif isinstance(loss.weights, Simplex):
        for parts in compositions(loss.weights.steps, len(loss.terms)):
            yield {
                t: Fraction(p, loss.weights.steps) for t, p in zip(loss.terms, parts, strict=True)
            }
    else:
        for given in loss.vectors():
            yield written(loss.terms, given)


def compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of `parts` non-negative integers."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in compositions(total - first, parts - 1):
            yield (first, *rest)


def direction(terms: Sequence[str], uniforms: Sequence[float]) -> Direction:
    """A direction, uniform on the simplex where the len(terms) - 1 numbers in [0, 1) are.

    The gaps between sorted uniforms (Devroye, Non-Uniform Random Variate Generation, XI.2).
    """
    cuts = [0, *sorted(round(u * DRAW_STEPS) for u in uniforms), DRAW_STEPS]
    gaps = [b - a for a, b in itertools.pairwise(cuts)]
    return {t: Fraction(gap, DRAW_STEPS) for t, gap in zip(terms, gaps, strict=True)}


def face(terms: Sequence[str], zero: float, uniform: float) -> Sequence[str]:
    """The terms that are left in: in a share `zero` of cases not all, every face as often.

    Uniform draws have a weight of exactly 0 with probability 0, and whether a term is needed at all
    is the first question.
    """
    if uniform >= zero:
        return terms
    chosen = 1 + int(uniform / zero * (2 ** len(terms) - 2))
    return [term for place, term in enumerate(terms) if chosen >> place & 1]


def on_levels(spec: StudySpec) -> bool:
    """Whether points have the weights that `[loss]` names, and no others."""
    return spec.sampler.draw == "levels" or bool(spec.loss.vectors())


def at(spec: StudySpec, uniforms: Sequence[float]) -> Point:
    """The point that numbers in [0, 1) mean: first the weights, then one number per choice, then
    whether it lies on a face, and on which."""
    terms, options = spec.loss.terms, choices(spec)
    if on_levels(spec):
        weights = _canonical_grid(spec)
        return Point(weights[int(uniforms[0] * len(weights))], _picked(options, uniforms[1:]))
    last = len(terms) - 1 + len(options)
    kept = face(terms, spec.sampler.zero, uniforms[last]) if len(terms) > 1 else terms
    found = direction(kept, uniforms[: len(kept) - 1])
    return Point(
        {term: found.get(term, Fraction(0)) for term in terms},
        _picked(options, uniforms[len(terms) - 1 : last]),
    )


def _picked(options: Mapping[str, Options], uniforms: Sequence[float]) -> dict[str, Value]:
    """One of each choice's options."""
    return {
        name: found.at(u) if isinstance(found, Range) else found[int(u * len(found))]
        for (name, found), u in zip(options.items(), uniforms, strict=True)
    }


def dimensions(spec: StudySpec) -> int:
    """How many numbers `at` takes."""
    terms = len(spec.loss.terms)
    return (1 if on_levels(spec) else terms - 1 + (terms > 1)) + len(choices(spec))


def draw(spec: StudySpec, k: int, again: int = 0) -> Point:
    """The k-th random point: a pure function of (sampler.seed, k, again), whoever asks."""
    # random.Random over text is specified never to change its stream, unlike numpy's Generator.
    source = random.Random(f"weightsearch {spec.sampler.seed} {k} {again}")
    return at(spec, [source.random() for _ in range(dimensions(spec))])


def sizes(spec: StudySpec) -> list[tuple[int, int]]:
    """The input sizes (height, width) that are trained at: `data.size`, or those of `params.size`.

    Raises ConfigError for one that is none.
    """
    assert spec.data is not None
    searched = choices(spec).get("size", ())
    if isinstance(searched, Range):
        raise ConfigError("params.size must be a size HxW or a list of them, but got a range.")
    return [picture_size(str(size)) for size in searched] or [spec.data.size]


def picture_size(given: str) -> tuple[int, int]:
    """`240x320` as (height, width); raises ConfigError."""
    height, _, width = given.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) >= 32 and int(width) >= 32):
        raise ConfigError(
            f"a size must read HxW, height and width of at least 32 pixels, but got '{given}'."
        )
    return int(height), int(width)

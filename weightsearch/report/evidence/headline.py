"""The headline of a study: the best, how sure, against what, and at what cost, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from weightsearch.report.evidence.configurations import (
    Configuration,
    common,
    compared,
    configurations,
    fixed,
    together,
)
from weightsearch.report.evidence.constant import Constant, constant
from weightsearch.report.evidence.ranking import comparable, ranked
from weightsearch.report.evidence.units import amount, hours, is_of_depth, sample
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.study import search_space
from weightsearch.study.point_text import named
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec
from weightsearch.study.weight_presets import PRESETS

PHRASES = {
    Verdict.BETTER: "better than {}",
    Verdict.BETTER_WITHIN: "better, within the margin, than {}",
    Verdict.EQUIVALENT: "equivalent to {}",
    Verdict.UNDECIDED: "undecided against {}",
    Verdict.WORSE_WITHIN: "worse, within the margin, than {}",
    Verdict.WORSE: "worse than {}",
}
RUNNER_UP, EQUAL, PAPER = "the runner-up", "equal weights", "the paper's direction"
SINGLE, CONSTANT = "the best single term", "the constant prediction"
OTHER_SINGLE = "the next best single term"
"""Where the best is one itself."""


@dataclass(frozen=True)
class Rival:
    """What the best is compared with."""

    names: Sequence[str]
    """What it is: one configuration may be the runner-up and equal weights at once."""
    says: str
    """Its weights and choices, or the depth of the constant."""
    point: str | None
    """Its id; None of the constant."""
    value: float
    """Of the deciding metric, over the runs that are compared."""
    comparison: Comparison | None
    """Of the best with it, over the same seeds: with another finalist that of the promotion, with
    the others at a level that holds for all configurations together (Holm). None without values
    per image."""
    is_full: bool = False
    """Whether full runs are compared, not those of the search."""
    is_finalist: bool = False
    """Whether the comparison is the promotion's."""
    harmed: Sequence[str] = ()
    """Guards that make "better" undecided, as the promotion says."""

    @property
    def name(self) -> str:
        """`the runner-up and best single term`."""
        first, *more = self.names
        return _listed([first, *(name.removeprefix("the ") for name in more)])

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "names": list(self.names),
            "says": self.says,
            "point": self.point,
            "value": self.value,
            "comparison": self.comparison.to_json() if self.comparison else None,
            "full_runs": self.is_full,
            "is_finalist": self.is_finalist,
            "harmed": list(self.harmed),
        }


@dataclass(frozen=True)
class Headline:
    """The answer of a study."""

    point: str
    """The id of the promoted configuration, or of the first of the ranking."""
    says: str
    metric: str
    value: float
    seeds: int
    """Runs that the value is the mean of: full ones where there are any."""
    is_full: bool
    margin: str
    """As the study states it."""
    rivals: Sequence[Rival]
    """Those that were tried."""
    device_seconds: float
    """Of all attempts so far, the promotion's and lost ones among them."""
    of_depth: bool = True
    """Else an own objective's: its metric has no unit that is known."""
    form: str = ""
    """Of the runs that the value is the mean of, where these are not from scratch."""

    @property
    def sentence(self) -> str:
        return self._said(self._told)

    @property
    def brief(self) -> str:
        """The sentence without the numbers of each rival, for where they stand beside it."""
        return self._said(_named_only)

    def _said(self, told: Callable[[Rival], str]) -> str:
        many = self.runs() + f", {self.form}" * bool(self.form)
        value = amount(self.metric, self.value, self.of_depth)
        return (
            f"{self._warning()}{self.says} has {value} ({many}):"
            f" {self._against(told)}; margin {self.margin},"
            f" {hours(self.device_seconds)} of device time."
        )

    def _warning(self) -> str:
        """Where the best has not beaten the constant: what else is said matters little then."""
        word = next(
            (r.comparison.verdict for r in self.rivals if CONSTANT in r.names and r.comparison),
            None,
        )
        if word in (None, Verdict.BETTER, Verdict.BETTER_WITHIN):
            return ""
        shown = "Not shown to be" if word == Verdict.UNDECIDED else "No"
        return f"{shown} better than a constant prediction: "

    def _against(self, told: Callable[[Rival], str]) -> str:
        parts = []
        for verdict, phrase in PHRASES.items():
            found = [
                told(r) for r in self.rivals if r.comparison and r.comparison.verdict == verdict
            ]
            if found:
                parts.append(phrase.format(_listed(found)))
        if parts:
            return "; ".join(parts)
        if self.rivals:
            return f"without values per {sample(self.of_depth)} nothing can be told apart"
        return "there is nothing to compare it with"

    def _told(self, rival: Rival) -> str:
        """`the runner-up (0.5 mae + 0.5 ssim, -0.0028, 95 % interval -0.0401 to +0.0344)`."""
        test = rival.comparison
        assert test is not None
        parts = [] if {EQUAL, CONSTANT} & set(rival.names) else [rival.says]
        runs = self.runs(rival)
        by = f"by {runs}: " if runs != self.runs() else ""
        parts.append(f"{by}{test.difference:+.4g}")
        if test.interval:
            span = "{:+.4g} to {:+.4g}".format(*test.interval)
            parts[-1] += f", {100 * test.level:g} % interval {span}"
        more = test.settled_by(sample(self.of_depth))
        if rival.harmed:
            more = f"{', '.join(rival.harmed)} worse"
        shown = test.interval is not None and max(test.interval[0], -test.interval[1]) > 0
        if shown and not more and test.verdict == Verdict.UNDECIDED:
            more = "not for all configurations together (Holm)"
        name = rival.says if CONSTANT in rival.names else rival.name
        return f"{name} ({', '.join(parts)}{f'; {more}' if more else ''})"

    def runs(self, rival: Rival | None = None) -> str:
        """`3 full runs`, `1 run of the search`: what the value is the mean of, or what is compared
        with a rival."""
        test = rival.comparison if rival else None
        seeds, is_full = self.seeds, self.is_full
        if rival and test:
            seeds, is_full = test.seeds, rival.is_full
        noun = "run" if seeds == 1 else "runs"
        return f"{seeds} full {noun}" if is_full else f"{seeds} {noun} of the search"

    def to_json(self) -> dict[str, Any]:
        return {
            "sentence": self.sentence,
            "point": self.point,
            "value": self.value,
            "seeds": self.seeds,
            "full_runs": self.is_full,
            "margin": self.margin,
            "rivals": [rival.to_json() for rival in self.rivals],
            "device_seconds": self.device_seconds,
        }


def headline(
    spec: StudySpec,
    done: Sequence[Done],
    full: Sequence[Done],
    promoted: PromotionVerdict | None,
    device_seconds: float,
) -> Headline | None:
    """Of the search's results and the promotion's; None where nothing may be ranked.

    Each rival is compared over full runs where both have them with the same seeds, else over the
    runs of the search.
    """
    order = ranked(spec, done)
    if not order:
        return None
    ids = [point.point.id() for point in order]
    first = ids.index(promoted.point) if promoted and promoted.point in ids else 0
    best = order[first]
    runs = Runs(spec, configurations(spec, comparable(full)))
    mine, is_full = runs.of(best), best.point.key() in runs.full
    others = [point for point in order if point.point != best.point]
    rivals = [
        _of_promotion(promoted, runs.rival(names, best, other))
        for names, other in _named(_rivals(spec, best, others, promoted))
    ]
    told = constant([*order, *configurations(spec, comparable(full))])
    if told is not None:
        rivals.append(runs.against(told, best, others))
    return Headline(
        point=best.point.id(),
        says=described(spec, best.point),
        metric=spec.objective.metric,
        value=fmean(run.result.metrics[spec.objective.metric] for run in mine),
        seeds=len(mine),
        is_full=is_full,
        margin=str(spec.answer.delta()),
        rivals=_held(spec, rivals, runs.against_all(best, others)),
        device_seconds=device_seconds,
        of_depth=is_of_depth(spec),
        form=mine[0].result.form if mine[0].result.shared else "",
    )


def _rivals(
    spec: StudySpec,
    best: Configuration,
    others: Sequence[Configuration],
    promoted: PromotionVerdict | None,
) -> Iterator[tuple[str, Configuration]]:
    """Those that were tried, the best of each kind: the runner-up of the full runs, or of the
    ranking; the rest with the choices (encoder, ...) of the best."""
    if others:
        finalists = [f.point for f in promoted.finalists] if promoted else []
        after = [f for f in finalists if f != best.point.id()]
        second = next((o for o in others if after and o.point.id() == after[0]), others[0])
        yield RUNNER_UP, second
    alike = [o for o in fixed(others) if o.point.choices() == best.point.choices()]
    placed = [(search_space.canonical(o.point.weights, True), o) for o in alike]
    terms = spec.loss.terms
    wanted: dict[str, Mapping[str, float]] = {EQUAL: dict.fromkeys(terms, 1.0)}
    if set(PRESETS["paper"]) <= set(terms):
        wanted[PAPER] = PRESETS["paper"]
    for name, weights in wanted.items():
        direction = search_space.canonical(search_space.written(terms, weights), True)
        if found := next((o for at, o in placed if at == direction), None):
            yield name, found
    if single := next((other for other in alike if _is_single(other)), None):
        yield OTHER_SINGLE if _is_single(best) else SINGLE, single


def _is_single(one: Configuration) -> bool:
    weights = one.point.weights.values()
    return one.point.weighting is None and sum(weight > 0 for weight in weights) == 1


def _named(
    rivals: Iterable[tuple[str, Configuration]],
) -> list[tuple[list[str], Configuration]]:
    """Each configuration once, with all its names: Holm's correction counts what was asked."""
    found: dict[str, tuple[list[str], Configuration]] = {}
    for name, other in rivals:
        found.setdefault(other.point.key(), ([], other))[0].append(name)
    return list(found.values())


def _of_promotion(promoted: PromotionVerdict | None, rival: Rival) -> Rival:
    """With the promotion's own comparison, where there is one of before: two words on one pair
    would be one too many. That of a release without a margin is made anew."""
    for made in promoted.comparisons if promoted else ():
        if promoted and rival.point and made.deciding.margin is not None:
            if (made.point, made.against) == (promoted.point, rival.point):
                test = made.deciding
                return _finalist(rival, test, made.harmed)
            if (made.against, made.point) == (promoted.point, rival.point):
                test = made.deciding.reversed()
                return _finalist(rival, test, made.harmed)
    return rival


def _finalist(rival: Rival, test: Comparison, harmed: Sequence[str]) -> Rival:
    return replace(rival, comparison=test, is_full=True, is_finalist=True, harmed=harmed)


def _held(
    spec: StudySpec, rivals: Sequence[Rival], family: Mapping[str, Comparison]
) -> list[Rival]:
    """Verdicts that hold together; a promotion's, and that on the constant, do already.

    The best was chosen from all configurations, so all of its comparisons are the family of Holm's
    correction, not those alone that are told: without them it was "better" than equal weights, the
    best single term or the runner-up in 20 of 150 simulated studies in which nothing differs.
    """
    held = together(spec, family)
    return [
        rival
        if rival.is_finalist or rival.point is None
        else replace(rival, comparison=held.get(rival.point))
        for rival in rivals
    ]


class Runs:
    """The runs that are compared: the full ones of the configurations that have some."""

    def __init__(self, spec: StudySpec, full: Sequence[Configuration]) -> None:
        self.spec = spec
        self.full = {one.point.key(): one.runs for one in full}

    def of(self, one: Configuration) -> Sequence[Done]:
        """The full ones where there are any."""
        return self.full.get(one.point.key(), one.runs)

    def rival(self, names: Sequence[str], best: Configuration, other: Configuration) -> Rival:
        """Over the seeds that both have, full runs first."""
        metric, says = self.spec.objective.metric, described(self.spec, other.point)
        full = common(*(self.full.get(one.point.key(), ()) for one in (best, other)))
        pairs = full or common(best.runs, other.runs)
        if not pairs:
            return Rival(names, says, other.point.id(), other.result.metrics[metric], None)
        ours, theirs = (fmean(pair[k].result.metrics[metric] for pair in pairs) for k in (0, 1))
        test = compared(self.spec, pairs, metric, self._margin(ours))
        return Rival(names, says, other.point.id(), theirs, test, bool(full))

    def against_all(
        self, best: Configuration, others: Sequence[Configuration]
    ) -> dict[str, Comparison]:
        """By id: the best against each, as far as they can be compared."""
        found = {other.point.id(): self.rival([], best, other).comparison for other in others}
        return {point: test for point, test in found.items() if test is not None}

    def against(
        self, told: Constant, best: Configuration, others: Sequence[Configuration]
    ) -> Rival:
        """The constant; of all configurations the best is the likeliest to beat it by chance."""
        runs, is_full = self.of(best), best.point.key() in self.full
        metric = self.spec.objective.metric
        margin = self._margin(fmean(run.result.metrics[metric] for run in runs))
        found = {
            one.point.id(): told.compared(self.spec, self.of(one), margin)
            for one in (best, *others)
        }
        test = together(self.spec, found).get(best.point.id())
        return Rival([CONSTANT], told.says, None, told.value, test, is_full)

    def _margin(self, best: float) -> float | None:
        return self.spec.answer.delta().of(best)


def described(spec: StudySpec, point: Point) -> str:
    """What was searched, and the weights: `resnet18 · 0.6 mae 0.4 ssim`."""
    kept = (*search_space.varied(spec), search_space.WEIGHTING)
    searched = {n: v for n, v in point.params.items() if n in kept}
    return named(search_space.decimals(point.weights), searched)


def _named_only(rival: Rival) -> str:
    return f"{rival.name} ({rival.says})" if RUNNER_UP in rival.names else rival.name


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]

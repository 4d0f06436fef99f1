"""The headline of a study: the best, how sure, against what, and at what cost, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from weightsearch.report.evidence.constant import Constant, constant
from weightsearch.report.evidence.ranking import comparable, ranked
from weightsearch.report.evidence.records import amount, fixed, hours
from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.study import search_space
from weightsearch.study.point_text import choices, loss
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
    the others at a level that holds for them together (Holm). None without values per image."""
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
    """Of all attempts, the promotion's and lost ones among them."""

    @property
    def sentence(self) -> str:
        many = f"{self.seeds} " + ("runs" if self.seeds > 1 else "run")
        many = many.replace(" ", " full ") if self.is_full else f"{many} of the search"
        return (
            f"{self._warning()}{self.says} has {amount(self.metric, self.value)} ({many}):"
            f" {self._against()}; margin {self.margin},"
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

    def _against(self) -> str:
        parts = []
        for verdict, phrase in PHRASES.items():
            told = [
                self._told(r)
                for r in self.rivals
                if r.comparison and r.comparison.verdict == verdict
            ]
            if told:
                parts.append(phrase.format(_listed(told)))
        if parts:
            return "; ".join(parts)
        if self.rivals:
            return "without values per image nothing can be told apart"
        return "there is nothing to compare it with"

    def _told(self, rival: Rival) -> str:
        """`the runner-up (0.5 mae + 0.5 ssim, -0.0028, 95 % interval -0.0401 to +0.0344)`."""
        test = rival.comparison
        assert test is not None
        parts = [] if {EQUAL, CONSTANT} & set(rival.names) else [rival.says]
        parts.append(f"{test.difference:+.4g}")
        if test.interval:
            span = "{:+.4g} to {:+.4g}".format(*test.interval)
            parts[-1] += f", {100 * test.level:g} % interval {span}"
        parts += self._fewer(rival, test.seeds)
        more = f"{', '.join(rival.harmed)} worse" if rival.harmed else test.settled_by()
        name = rival.says if CONSTANT in rival.names else rival.name
        return f"{name} ({', '.join(parts)}{f'; {more}' if more else ''})"

    def _fewer(self, rival: Rival, seeds: int) -> list[str]:
        """Which runs are compared, where they are not those that the value is the mean of."""
        many = f"{seeds} seed{'s' * (seeds > 1)}"
        if self.is_full and not rival.is_full:
            return [f"{many} of the search"]
        return [many] if seeds < self.seeds else []

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
    runs = Runs(spec, order, comparable(full))
    mine, is_full = runs.of(best.point), best.point.key() in runs.full
    others = [point for point in order if point.point != best.point]
    rivals = [
        _of_promotion(promoted, runs.rival(names, best, other))
        for names, other in _named(_rivals(spec, best, others, promoted))
    ]
    told = constant(order)
    if told is not None:
        rivals.append(runs.against(told, best))
    return Headline(
        point=best.point.id(),
        says=described(spec, best.point),
        metric=spec.objective.metric,
        value=fmean(run.result.metrics[spec.objective.metric] for run in mine.values()),
        seeds=len(mine),
        is_full=is_full,
        margin=str(spec.answer.delta()),
        rivals=_held(spec, rivals),
        device_seconds=device_seconds,
    )


def _rivals(
    spec: StudySpec, best: Done, others: Sequence[Done], promoted: PromotionVerdict | None
) -> Iterator[tuple[str, Done]]:
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
    for other in alike:
        if sum(weight > 0 for weight in other.point.weights.values()) == 1:
            yield SINGLE, other
            break


def _named(rivals: Iterable[tuple[str, Done]]) -> list[tuple[list[str], Done]]:
    """Each configuration once, with all its names: Holm's correction counts what was asked."""
    found: dict[str, tuple[list[str], Done]] = {}
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


def _held(spec: StudySpec, rivals: Sequence[Rival]) -> list[Rival]:
    """Verdicts that hold together; a promotion's do already."""
    tests = {
        rival.name: rival.comparison
        for rival in rivals
        if rival.comparison and not rival.is_finalist
    }
    smaller = spec.objective.direction == "minimize"
    held = comparison.holm(tests, dict.fromkeys(tests, smaller))
    return [replace(rival, comparison=held.get(rival.name, rival.comparison)) for rival in rivals]


class Runs:
    """The runs of each configuration by seed, the search's and the full ones."""

    def __init__(self, spec: StudySpec, done: Sequence[Done], full: Sequence[Done]) -> None:
        self.spec = spec
        self.search, self.full = _by_seed(done), _by_seed(full)

    def of(self, point: Point) -> dict[int, Done]:
        """The full ones where there are any."""
        return self.full.get(point.key()) or self.search[point.key()]

    def rival(self, names: Sequence[str], best: Done, other: Done) -> Rival:
        """Over the seeds that both have, full runs first."""
        metric, says = self.spec.objective.metric, described(self.spec, other.point)
        for kind in (self.full, self.search):
            ours, theirs = (kind.get(one.point.key(), {}) for one in (best, other))
            seeds = sorted(ours.keys() & theirs.keys())
            if seeds:
                break
        else:
            return Rival(names, says, other.point.id(), other.result.metrics[metric], None)
        value = fmean(theirs[seed].result.metrics[metric] for seed in seeds)
        a, b = ([runs[s].result.samples.get(metric, ()) for s in seeds] for runs in (ours, theirs))
        test = None
        if all(a) and all(b):
            smaller = self.spec.objective.direction == "minimize"
            margin = self._margin(fmean(ours[seed].result.metrics[metric] for seed in seeds))
            groups = ours[seeds[0]].result.groups
            test = comparison.paired(a, b, groups, smaller, margin=margin)
        return Rival(names, says, other.point.id(), value, test, kind is self.full)

    def against(self, told: Constant, best: Done) -> Rival:
        runs, is_full = list(self.of(best.point).values()), best.point.key() in self.full
        metric = self.spec.objective.metric
        samples = [run.result.samples.get(metric, ()) for run in runs]
        margin = self._margin(fmean(run.result.metrics[metric] for run in runs))
        test = told.compared(self.spec, samples, margin)
        return Rival([CONSTANT], told.says, None, told.value, test, is_full)

    def _margin(self, best: float) -> float | None:
        return self.spec.answer.delta().of(best)


def _by_seed(done: Sequence[Done]) -> dict[str, dict[int, Done]]:
    found: dict[str, dict[int, Done]] = {}
    for run in done:
        found.setdefault(run.point.key(), {})[run.seed] = run
    return found


def described(spec: StudySpec, point: Point) -> str:
    """The weights, and what else was searched: `0.6 mae + 0.4 ssim with resnet18`."""
    options = search_space.choices(spec)
    searched = {n: v for n, v in point.params.items() if len(options.get(n, ())) > 1}
    terms = loss(search_space.decimals(point.weights), point.params)
    return f"{terms} with {choices(searched)}" if searched else terms


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]

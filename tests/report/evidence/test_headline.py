"""The headline: the best against its rivals, in one sentence with a verdict and a margin."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from support.specs import make_spec
from support.verdicts import finalist, promotion

from weightsearch.report.evidence import constant as constants
from weightsearch.report.evidence.answer import repeats_agree
from weightsearch.report.evidence.configurations import configurations
from weightsearch.report.evidence.headline import Headline, headline
from weightsearch.report.evidence.ranking import ranking
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.results import Evaluation, Result
from weightsearch.store.ledger.stored_promotion import FinalistComparison
from weightsearch.store.tables.states import Outcome
from weightsearch.study import search_space
from weightsearch.study.answer_spec import AnswerSpec
from weightsearch.study.data_spec import DataSpec
from weightsearch.study.search_space import Point, exact
from weightsearch.study.spec import StudySpec

GROUPS = [f"scene {i // 2}" for i in range(24)]
HARD = [random.Random(i).gauss(0, 0.2) for i in range(24)]
SPEC = make_spec(loss={"weights": {"grid": "simplex", "steps": 3}}, params={"encoder": ["a", "b"]})
OF_DEPTH = SPEC.model_copy(update={"data": DataSpec(source="synthetic", size=(32, 32))})
CONSTANT = {"says": "a constant prediction of 2.5 m", "value": 1.5, "samples": [1.5] * 24}


def run(
    mae: float,
    edge: float,
    ssim: float,
    rmse: float,
    seed: int = 0,
    encoder: str = "a",
    **about: Any,
) -> Done:
    """A run whose images are hard or easy alike, and differ a little from run to run."""
    weights = {"mae": exact(mae), "edge": exact(edge), "ssim": exact(ssim)}
    point = Point(search_space.canonical(weights, True), {"encoder": encoder})
    noise = random.Random(f"{point.key()} {seed}")
    values = [rmse + hard + noise.gauss(0, 0.01) for hard in HARD]
    metrics = {"rmse": sum(values) / len(values)}
    found = Evaluation(metrics, {"rmse": values}, GROUPS, len(GROUPS), about)
    return Done(0, 0, seed, point, Result(Outcome.DONE, found))


def told(
    done: Sequence[Done], full: Sequence[Done] = (), promoted: Any = None, spec: StudySpec = SPEC
) -> Headline:
    found = headline(spec, done, full, promoted, 150.0)
    assert found is not None
    return found


def by_name(found: Headline) -> Mapping[str, Any]:
    return {name: rival for rival in found.rivals for name in rival.names}


def test_of_single_terms_the_next_best_is_the_rival_of_the_best() -> None:
    done = [run(1, 0, 0, 1.0), run(0.5, 0, 0.5, 1.1), run(0, 1, 0, 1.3), run(0, 0, 1, 1.4)]
    rivals = by_name(told(done))
    assert rivals["the next best single term"].says == "a · 1 edge"
    assert "the best single term" not in rivals


def test_it_names_the_best_and_each_rival_with_a_verdict_and_the_margin() -> None:
    done = [
        run(0.5, 0, 0.5, 1.0, constant=CONSTANT),
        run(0.5, 0, 0.5, 1.2, encoder="b"),
        run(1, 1, 1, 1.3),
        run(0.6, 0.2, 1.0, 1.35),
        run(0, 0, 1, 1.4),
        run(0, 1, 0, 1.45),
    ]
    found = told(done)
    rivals = by_name(found)
    assert list(rivals) == [
        *("the runner-up", "equal weights", "the paper's direction", "the best single term"),
        "the constant prediction",
    ]
    assert rivals["the runner-up"].says == "b · 0.5 mae 0.5 ssim"
    assert rivals["the best single term"].says == "a · 1 ssim"
    assert rivals["the paper's direction"].point == done[3].point.id()
    assert {rival.comparison.verdict for rival in rivals.values()} == {"better"}
    assert found.sentence.startswith("a · 0.5 mae 0.5 ssim has RMSE 1.0")
    assert "(1 run of the search): better than the runner-up (b · 0.5 mae 0.5 ssim, -0." in (
        found.sentence
    )
    assert "and a constant prediction of 2.5 m (-0." in found.sentence
    assert found.sentence.endswith("; margin 1 %, 2 min of device time.")
    assert "\n" not in found.sentence


def test_one_configuration_with_several_names_is_one_rival() -> None:
    """Holm's correction over two would say "undecided", where the ranking says "worse"."""
    best = run(0.5, 0, 0.5, 1.0)
    apart = [0.02 * (1 + (1.33 if i // 2 % 2 else -1.33)) for i in range(24)]
    values = [a + b for a, b in zip(best.result.samples["rmse"], apart, strict=True)]
    found = Evaluation({"rmse": sum(values) / 24}, {"rmse": values}, GROUPS, 24, {})
    other = dataclasses.replace(run(1, 0, 0, 1.0), result=Result(Outcome.DONE, found))
    headed = told([best, other])
    (rival,) = headed.rivals
    assert rival.comparison is not None
    assert rival.comparison.p == pytest.approx(0.03, abs=0.002)
    assert rival.comparison.verdict == "better"
    assert ranking(SPEC, [best, other])[1].against_best == "worse"
    assert rival.to_json()["names"] == ["the runner-up", "the best single term"]
    assert ": better than the runner-up and best single term (a · 1 mae, -0.02," in (
        headed.sentence
    )


def test_what_is_undecided_says_what_would_decide() -> None:
    done = [run(0.5, 0, 0.5, 1.0), run(1, 0, 0, 1.005)]
    found = told(done, spec=SPEC.model_copy(update={"answer": AnswerSpec(margin=0.001)}))
    (rival,) = found.rivals
    test = rival.comparison
    assert test.verdict == "undecided"
    span = f"{test.difference:+.4g}, 95 % interval {test.low:+.4g} to {test.high:+.4g}"
    assert (
        f"undecided against the runner-up ({rival.says}, {span}; about {test.groups_needed}"
        " groups would decide)"
    ) in found.sentence


def test_full_runs_are_compared_where_both_have_them() -> None:
    done = [run(0.5, 0, 0.5, 1.0), run(1, 0, 0, 1.1), run(1, 1, 1, 1.3)]
    seeds = (1, 2, 3)
    full = [run(1, 0, 0, 0.8, seed) for seed in seeds] + [
        run(0.5, 0, 0.5, 0.9, seed) for seed in seeds
    ]
    ids = [done[1].point.id(), done[0].point.id()]
    verdict = promotion(point=ids[0], finalists=[finalist(i) for i in ids])
    found = told(done, full, verdict)
    assert (found.point, found.seeds, found.is_full) == (ids[0], 3, True)
    assert found.value == pytest.approx(0.8, abs=0.1)
    runner_up, equal = (by_name(found)[name] for name in ("the runner-up", "equal weights"))
    assert (runner_up.point, runner_up.comparison.seeds) == (ids[1], 3)
    assert runner_up.comparison.verdict == "better"
    assert (equal.comparison.seeds, equal.comparison.verdict) == (1, "better")
    assert "(3 full runs): " in found.sentence
    again = repeats_agree(SPEC, full)
    assert again is not None
    assert again.of_one > 0.9
    assert repeats_agree(SPEC, done) is None


def test_one_full_run_is_told_from_one_of_the_search() -> None:
    done = [run(0.5, 0, 0.5, 1.0, constant=CONSTANT), run(1, 0, 0, 1.4)]
    best = done[0].point.id()
    verdict = promotion(point=best, finalists=[finalist(best)])
    found = told(done, [run(0.5, 0, 0.5, 0.9, 1)], verdict)
    assert "(1 full run): " in found.sentence
    runner_up, constant = found.rivals
    assert (runner_up.is_full, constant.to_json()["full_runs"]) == (False, True)
    assert found.sentence.count("by 1 run of the search: -") == 1
    assert (found.runs(), found.runs(runner_up)) == ("1 full run", "1 run of the search")
    assert found.runs(constant) == "1 full run"


def test_of_two_finalists_it_says_what_the_promotion_says() -> None:
    """Also where the simpler one was promoted, and where a guard was harmed."""
    done = [run(0.5, 0, 0.5, 1.0), run(1, 0, 0, 1.1), run(1, 1, 1, 1.3)]
    a, b = (one.point.id() for one in done[:2])
    full = [run(0.5, 0, 0.5, 0.8, seed) for seed in (1, 2)]
    full += [run(1, 0, 0, 0.9, seed) for seed in (1, 2)]
    test = Comparison(-0.1, -0.2, 0.05, Verdict.UNDECIDED, 24, 12, 2, 0.975, margin=0.01)
    made = FinalistComparison(a, b, test, harmed=("rel",))
    verdict = promotion(point=b, finalists=[finalist(a), finalist(b)], comparisons=[made])
    found = told(done, full, verdict)
    rival = by_name(found)["the runner-up"]
    assert (rival.point, rival.is_finalist, rival.comparison) == (a, True, test.reversed())
    span = "+0.1, 97.5 % interval -0.05 to +0.2"
    assert f"(a · 0.5 mae 0.5 ssim, {span}; rel worse)" in found.sentence
    assert "equal weights (by 1 run of the search: -0.2055, 95 % interval" in found.sentence
    straight = promotion(point=a, finalists=[finalist(a), finalist(b)], comparisons=[made])
    assert by_name(told(done, full, straight))["the runner-up"].comparison == test
    old = dataclasses.replace(made, deciding=dataclasses.replace(test, margin=None))
    older = dataclasses.replace(straight, comparisons=[old])
    assert not by_name(told(done, full, older))["the runner-up"].is_finalist


@pytest.mark.parametrize(
    ("value", "word", "warned"),
    [
        (0.9, "worse", "No better than a constant prediction: a · 0.5 mae"),
        (1.0, "worse, within the margin", "No better than a constant prediction: a · 0.5 mae"),
        (1.2, "better", "a · 0.5 mae"),
    ],
)
def test_a_best_that_is_no_better_than_the_constant_is_named_as_such(
    value: float, word: str, warned: str
) -> None:
    told_of = CONSTANT | {"samples": [value + hard for hard in HARD], "value": value}
    done = [run(0.5, 0, 0.5, 1.0, constant=told_of), run(0, 0, 1, 1.4)]
    found = told(done)
    assert found.sentence.startswith(warned)
    assert by_name(found)["the constant prediction"].comparison.verdict == word
    rows = ranking(SPEC, done)
    assert [row.against_constant for row in rows] == [word, "worse"]
    assert rows[0].beats_the_constant() == (word == "better")


def test_of_many_networks_none_beats_the_constant_by_chance() -> None:
    near = run(1, 0, 0, 1.32, constant=CONSTANT)
    (alone,) = ranking(SPEC, [near])
    assert alone.beats_the_constant()
    level = [run(k / 10, 1 - k / 10, 0, 1.5, constant=CONSTANT) for k in range(10)]
    assert not any(row.beats_the_constant() for row in ranking(SPEC, [near, *level]))
    assert [row.against_constant for row in ranking(SPEC, [near, *level], first=1)] == ["undecided"]
    said = told([near, *level]).sentence
    assert said.startswith("Not shown to be better than a constant prediction")


def test_without_a_constant_or_values_per_image_nothing_is_said_of_them() -> None:
    done = [run(0.5, 0, 0.5, 1.0), run(1, 0, 0, 1.4)]
    rows = ranking(SPEC, done)
    assert [row.against_constant for row in rows] == [None, None]
    assert all(row.beats_the_constant() for row in rows)
    bare = [
        dataclasses.replace(
            one,
            result=Result(Outcome.DONE, dataclasses.replace(one.result.validation, samples={})),
        )
        for one in done
    ]
    assert "without values per sample nothing can be told apart" in told(bare).sentence
    depth = headline(OF_DEPTH, bare, [], None, 0.0)
    assert depth is not None
    assert "without values per image nothing can be told apart" in depth.sentence
    assert "there is nothing to compare it with" in told(done[:1]).sentence
    assert headline(SPEC, [], [], None, 0.0) is None


def test_only_metrics_of_depth_have_a_unit() -> None:
    done = [run(0.5, 0, 0.5, 1.0), run(1, 0, 0, 1.4)]
    assert " has RMSE 1.03 (1 run of the search)" in told(done).sentence
    found = headline(OF_DEPTH, done, [], None, 0.0)
    assert found is not None
    assert " has RMSE 1.03 m (1 run of the search)" in found.sentence


@pytest.mark.parametrize(
    "about",
    [
        *({"constant": 3}, {"constant": {"value": "x"}}, {"constant": {"samples": [1.0]}}),
        *({"constant": {"value": float("nan")}}, {"constant": {"value": 10**400}}),
    ],
)
def test_what_an_objective_says_wrongly_of_a_constant_is_left_out(about: dict[str, Any]) -> None:
    assert constants.constant(configurations(SPEC, [run(1, 0, 0, 1.0, **about)])) is None


@pytest.mark.parametrize("samples", [[1.5] * 3, None, 7, ["x"] * 24, [float("nan")] * 24, "1" * 24])
def test_a_constant_of_other_samples_is_shown_and_not_compared(samples: object) -> None:
    done = [run(1, 0, 0, 1.0, constant=CONSTANT | {"samples": samples})]
    assert by_name(told(done))["the constant prediction"].comparison is None
    assert ranking(SPEC, done)[0].against_constant is None
    found = constants.constant(configurations(SPEC, done))
    assert found is not None
    said = {"says": CONSTANT["says"], "value": 1.5, "interval": None, "images": None}
    assert found.to_json() == said


def test_the_best_of_many_is_better_only_as_the_best_of_many() -> None:
    """It was chosen from all of them, so all of them are the family of Holm's correction."""
    shares = [(a, b, 12 - a - b) for a in range(1, 12) for b in range(1, 12 - a) if a != b]
    many = [run(*each, 1.0) for each in shares]
    best, equal = min(many, key=lambda one: one.result.metrics["rmse"]), run(1, 1, 1, 1.0)
    of_two, of_all = (
        by_name(told([*done, equal]))["equal weights"].comparison for done in ([best], many)
    )
    assert of_two.p == of_all.p < 0.01
    assert (of_two.verdict, of_all.verdict) == ("better", "undecided")


def test_runs_of_other_numbers_of_samples_are_not_paired() -> None:
    """An own objective may leave some out: which ones is not known."""

    def shorter(done: Done) -> Done:
        (values,) = done.result.samples.values()
        less = dataclasses.replace(
            done.result.validation, samples={"rmse": values[:-1]}, groups=GROUPS[:-1]
        )
        return dataclasses.replace(done, result=dataclasses.replace(done.result, validation=less))

    runs = [run(1, 0, 0, 1.0, seed=s) for s in (0, 1)] + [run(0, 0, 1, 1.2, seed=s) for s in (0, 1)]
    assert all(rival.comparison for rival in told(runs).rivals)
    one = [shorter(runs[0]), *runs[1:]]
    assert not any(rival.comparison for rival in told(one).rivals)
    pooled = configurations(SPEC, one)
    assert [len(c.result.samples.get("rmse", ())) for c in pooled] == [0, 24]

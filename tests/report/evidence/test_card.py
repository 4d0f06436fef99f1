"""The card of the answer: what each page says first."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.records import make_records
from support.verdicts import beaten, promotion

from weightsearch.report.evidence.card import of_study
from weightsearch.report.evidence.headline import CONSTANT, Headline, Rival
from weightsearch.report.evidence.records import Records
from weightsearch.report.evidence.verdict import Tone, next_step, verdict_of
from weightsearch.stats.comparison_result import Verdict
from weightsearch.store.ledger.stored_promotion import Promoted


def told(*words: Verdict, constant: Verdict | None = None) -> Headline:
    def rival(name: str, word: Verdict) -> Rival:
        return Rival([name], "1 mae", "p", 1.0, beaten(word).deciding)

    rivals = [rival(f"rival {k}", word) for k, word in enumerate(words)]
    rivals += [rival(CONSTANT, constant)] if constant else []
    return Headline("p", "1 mae", "rmse", 1.0, 1, False, "1 %", rivals, 1.0)


@pytest.mark.parametrize(
    ("words", "constant", "said", "tone"),
    [
        ([Verdict.BETTER, Verdict.BETTER], Verdict.BETTER, "A clear winner", Tone.GOOD),
        ([Verdict.BETTER, Verdict.UNDECIDED], None, "Undecided", Tone.OPEN),
        ([Verdict.BETTER, Verdict.WORSE], None, "Undecided", Tone.OPEN),
        ([Verdict.BETTER, Verdict.EQUIVALENT], None, "No difference worth having", Tone.GOOD),
        ([Verdict.BETTER_WITHIN], Verdict.BETTER, "No difference worth having", Tone.GOOD),
        ([Verdict.BETTER], Verdict.UNDECIDED, "Not shown to beat a constant", Tone.BAD),
        ([Verdict.BETTER], Verdict.WORSE, "No better than a constant", Tone.BAD),
        ([], Verdict.BETTER, "Not compared", Tone.OPEN),
    ],
)
def test_the_verdict_is_that_of_the_nearest_rival_and_a_constant_goes_first(
    words: list[Verdict], constant: Verdict | None, said: str, tone: Tone
) -> None:
    headline = told(*words, constant=constant)
    assert verdict_of(headline) == (said, tone)
    records = make_records(3)
    step = next_step(records.study, records.spec, {}, headline, None)
    learned = {Verdict.UNDECIDED: "is open", Verdict.WORSE: "Weights matter little until"}
    for verdict, words_of in learned.items():
        assert (words_of in step) == (constant == verdict)
    running = next_step(records.study, records.spec, {"waiting": 1, "done": 2}, headline, None)
    assert running == f"1 point is open; `weightsearch status {records.study}` says how far it is."


@pytest.mark.parametrize(
    ("low", "seeds_needed", "is_full", "said"),
    [
        (-0.5, 5, True, "`weightsearch promote made-up --promote-seeds 1,2,3,4,5` runs them"),
        (-0.5, 5, False, "`weightsearch launch made-up --extend repeats=5` runs them"),
        (
            0.1,
            None,
            True,
            "one more seed may decide; `weightsearch promote made-up"
            " --promote-seeds 1,2,3,4` runs them",
        ),
        (-0.5, 40, True, "until then take either"),
        (-0.5, None, False, "until then take either"),
    ],
)
def test_what_is_undecided_has_a_command_that_runs_as_it_stands_or_none(
    low: float, seeds_needed: int | None, is_full: bool, said: str
) -> None:
    test = dataclasses.replace(
        beaten(Verdict.UNDECIDED).deciding, low=low, high=0.5, seeds_needed=seeds_needed
    )
    rival = Rival(["equal weights"], "1 mae", "p", 1.0, test, is_full)
    headline = dataclasses.replace(told(), rivals=[rival])
    spec, made = make_records(3).spec, promotion()
    step = next_step("made-up", spec, {"done": 24}, headline, made)
    assert step.startswith("Against equal weights ")
    assert step.endswith(f"{said}.")


def test_a_promotion_that_the_search_has_outgrown_is_made_anew() -> None:
    spec, better = make_records(3).spec, told(Verdict.BETTER)
    now, made = {"done": 24}, promotion()  # of 24
    assert "lies in nowhere" in next_step("made-up", spec, now, better, made)
    grown = next_step("made-up", spec, {"done": 25}, better, made)
    assert grown.endswith("`weightsearch promote made-up` judges it anew.")


def changed(records: Records, **to: Any) -> Records:
    return dataclasses.replace(records, **to)


def test_the_card_says_the_best_the_cost_and_what_to_do_next() -> None:
    records = make_records(12)
    card = of_study(records)
    assert records.headline is not None
    assert card.sentence == records.headline.sentence
    assert card.facts["best"].startswith(f"{records.headline.says} [{records.rows[0].point}]: RMSE")
    assert card.facts["cost"].endswith("attempts, 1 of them lost or failed; 12 of 12 points done")
    open_ones = changed(records, counts={"total": 20, "done": 12, "waiting": 8})
    assert of_study(open_ones).next_step.startswith("8 points are open; `weightsearch status")
    assert card.lines()[0] == f"{card.verdict}: {card.sentence}"


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Promoted.WINNER, "better than every other finalist"),
        (Promoted.EQUIVALENT, "the simplest of the finalists that come to the same"),
        (
            Promoted.UNDECIDED,
            "the simplest of those that may be as good as the best finalist",
        ),
    ],
)
def test_the_card_says_why_the_promoted_one_was(verdict: Promoted, said: str) -> None:
    made = promotion(verdict=verdict, comparisons=[beaten(Verdict.UNDECIDED, harmed=("rel",))])
    card = of_study(changed(make_records(5), promoted=made))
    finalists = len(made.finalists)
    assert card.facts["promoted as"] == f"{said} ({finalists} trained in full; rel harmed)"


def test_without_a_result_it_says_where_to_look() -> None:
    card = of_study(make_records(0))
    assert (card.verdict, card.tone) == ("No result yet", Tone.OPEN)
    assert "weightsearch status made-up" in card.next_step
    failed = of_study(make_records(9, failed=True))
    assert failed.sentence.startswith("9 of 9 points failed")
    assert "weightsearch failures made-up" in failed.next_step

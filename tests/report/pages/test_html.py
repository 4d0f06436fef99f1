"""Pages: one file that opens offline, in which nothing but its own two scripts can run."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.pages import browser, listened, promoted
from support.processes import Cli
from support.records import make_records
from support.verdicts import beaten, promotion

from weightsearch.commands.answers import report_pages
from weightsearch.errors import StudyError
from weightsearch.report.evidence import records
from weightsearch.report.evidence.records import Records
from weightsearch.report.pages import comparison_page, html, study_page
from weightsearch.report.pages.html import Picture, Section
from weightsearch.stats.comparison_result import Verdict
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger.stored_promotion import Promoted
from weightsearch.study.answer_spec import AnswerSpec
from weightsearch.study.point_text import weighted_sum

__all__ = ["browser", "promoted"]

EVIL = "<script>alert(1)</script>"


class Parts(HTMLParser):
    """What a document consists of, as a browser takes it."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append((self.tags[-1][1].get("type") or "", data))


def policy(parts: Parts) -> str:
    return next(
        a["content"] or ""
        for _, a in parts.tags
        if a.get("http-equiv") == "Content-Security-Policy"
    )


def test_names_and_reasons_are_shown_and_never_run() -> None:
    records = make_records(20, study=EVIL, encoders=(EVIL, '"><img src=x onerror=alert(2)>'))
    document = study_page.report(records)
    parts = Parts(document)
    assert not any("onerror" in attributes for _, attributes in parts.tags)
    assert sum(tag == "script" and not a.get("type") for tag, a in parts.tags) == 1
    assert {kind for kind, _ in parts.scripts} == {"", "text/plain", "application/json"}
    assert "&lt;script&gt;alert(1)" in document
    for kind, text in parts.scripts:
        if kind == "application/json":
            assert json.loads(text)["data"]
    titles = re.findall(r"<h1>(.*?)</h1>", document)
    assert titles == ["Study &lt;script&gt;alert(1)&lt;/script&gt;"]


def test_only_the_scripts_whose_digest_is_named_may_run() -> None:
    parts = Parts(study_page.report(make_records(3)))
    packed = next(text for kind, text in parts.scripts if kind == "text/plain")
    plotly = gzip.decompress(base64.b64decode(packed)).decode()
    own = next(text for kind, text in parts.scripts if not kind)
    for script in (plotly, own):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy(parts)
    assert "default-src 'none'" in policy(parts)
    assert "script-src 'sha256-" in policy(parts)
    assert "unsafe-eval" not in policy(parts)
    sources = [a[n] for _, a in parts.tags for n in ("src", "href") if a.get(n)]
    assert all(source and source.startswith(("#", "data:")) for source in sources)


def test_five_hundred_points_stay_below_six_megabytes() -> None:
    assert len(study_page.report(make_records(500, epochs=20)).encode()) < 6e6


def test_a_page_without_figures_carries_no_plotly() -> None:
    document = html.page("t", "a", [Section("h", table=(["a"], [["1"]]))], ["r"])
    assert len(document) < 20_000
    assert Parts(document).scripts[0][0] == ""


def test_what_is_needed_to_read_it_without_eyes_is_there() -> None:
    pictures = [Picture(b"png", "first", "told", b"png", "second")]
    parts = Parts(study_page.report(make_records(20), pictures))
    assert len(parts.ids) == len(set(parts.ids))
    assert ("html", {"lang": "en"}) in parts.tags
    assert all(a.get("alt") for tag, a in parts.tags if tag == "img")
    assert all(a.get("aria-label") for tag, a in parts.tags if tag == "input")
    named = [a for tag, a in parts.tags if tag == "div" and a.get("class") == "table"]
    assert named
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in named)
    headings = [tag for tag, _ in parts.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}
    linked = {a["href"] for tag, a in parts.tags if tag == "a"}
    assert linked <= {f"#{name}" for name in parts.ids}


@pytest.mark.parametrize("count", [0, 1, 500])
def test_the_answer_is_two_sentences(count: int) -> None:
    said = study_page.answer(make_records(count))
    assert len(re.findall(r"\.(?= |$)", said)) == 2
    assert said.endswith(f"{count} of {count} planned points are done.")


def test_where_all_failed_the_answer_says_so() -> None:
    records = make_records(9, failed=True)
    assert study_page.answer(records).startswith("Nothing has won: 9 points failed.")
    document = study_page.report(records)
    assert "Attempts without a result" in document
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in document


def test_a_reason_cannot_show_a_password() -> None:
    document = html.page("t", "postgresql://me:secret@host/x", [], [])
    assert "secret" not in document


# Of a real study in the database


def test_records_are_what_the_ledger_holds(promoted: Database) -> None:
    found = records.read(promoted.engine, "study")
    assert found.counts["done"] == len(found.done) == 10
    assert len(found.full) == 9
    assert [a.outcome for a in found.attempts].count("given back") == 1
    back = found.attempts[0]
    assert (back.worker, back.outcome, back.reason) == ("gone", "given back", "asked to stop")
    assert found.attempts[1].epochs == [{"rmse": 2.0, "share_mae": 0.5}]
    assert found.attempts[0].began_s == 0
    assert all(a.ended_s >= a.began_s for a in found.attempts)


def test_a_report_of_a_promotion_begins_with_the_winner(promoted: Database, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report.html"
    here = report_pages.Here(tmp_path, None, "cpu")
    answer = report_pages.report(promoted.engine, "study", out, here)
    found = records.read(promoted.engine, "study")
    assert found.promoted is not None
    (winner,) = [f for f in found.promoted.finalists if f.validation["rmse"] < 1.1]
    who = weighted_sum(winner.weights)
    assert answer["answer"].startswith(f"{who} was promoted: RMSE 0.9")
    assert "it beats every other finalist" in answer["answer"]
    document = out.read_text()
    assert "The objective is not the depth one, so there are no pictures." in document
    assert "weightsearch report study --out report.html" in document
    assert answer["bytes"] == out.stat().st_size


def test_two_points_are_compared_over_their_full_runs(promoted: Database, tmp_path: Path) -> None:
    here = report_pages.Here(tmp_path, None, "cpu")
    out, both = tmp_path / "deep" / "compare.html", ("study", "study")
    found = report_pages.compare(promoted.engine, both, ("1", "0"), out, here)
    assert found["verdict"] == "better"
    assert found["full_runs"]
    assert found["a"]["seeds"] == [1, 2, 3]
    assert found["tests"]["rmse"]["difference"] == pytest.approx(-0.3, abs=0.02)
    assert found["file"] == str(out)
    assert "A is better than B" in out.read_text()
    again = report_pages.compare(promoted.engine, both, ("5", "2"), None, here)
    assert again["verdict"] == "worse"
    assert not again["full_runs"]


def test_what_cannot_be_compared_is_refused() -> None:
    first = make_records(20)
    other = Records("other", first.spec, done=first.done, data_digest="another")
    with pytest.raises(StudyError, match="one data digest to be compared"):
        comparison_page.sides(first, None, other, None)
    with pytest.raises(StudyError, match="must have one finished point 'zz'"):
        comparison_page.sides(first, "zz", first, "1")
    with pytest.raises(StudyError, match="must have a result, but has none"):
        comparison_page.sides(make_records(0), None, first, None)
    apart = first.done[1]
    about = {"not_comparable": "its batches were smaller"}
    marked = dataclasses.replace(apart.result.validation, about=about)
    result = dataclasses.replace(apart.result, validation=marked)
    done = [first.done[0], dataclasses.replace(apart, result=result)]
    shrunk = dataclasses.replace(first, done=done, full=[])
    names = [str(d.number) for d in done]
    with pytest.raises(StudyError, match=r"must be comparable, but .* its batches were smaller\."):
        comparison_page.sides(shrunk, names[0], shrunk, names[1])


def test_the_place_of_a_point_without_a_result_is_no_other_points_id() -> None:
    records = make_records(40)
    ids = {str(d.number): d.point.id() for d in records.done}
    place = next(n for n in ids if sum(i.startswith(n) for i in ids.values()) == 1)
    other = next(d for d in records.done if d.point.id().startswith(place))
    left = [d for d in records.done if str(d.number) != place or d is other]
    if str(other.number) == place:  # then take the place away, and the id stays another's
        pytest.skip("the made-up ids changed")
    without = dataclasses.replace(records, done=left)
    with pytest.raises(StudyError, match=f"must have one finished point '{place}'"):
        comparison_page.sides(without, place, without, str(other.number))


@pytest.mark.parametrize("word", [Promoted.UNDECIDED, Promoted.NO_DIFFERENCE])
def test_the_answer_counts_the_finalists_that_the_best_is_not_shown_to_beat(word: Promoted) -> None:
    records = make_records(5)
    equal = beaten(Verdict.UNDECIDED, harmed=("rel",))
    promoted = promotion(verdict=word, comparisons=[beaten(), equal])
    said = study_page.answer(dataclasses.replace(records, promoted=promoted))
    assert "is not shown to be better than 1 of the other 2 finalists" in said
    assert "at the expense of REL" in said
    alone = dataclasses.replace(promoted, comparisons=[beaten(Verdict.UNDECIDED)])
    said = study_page.answer(dataclasses.replace(records, promoted=alone))
    assert "is not shown to be better than the other finalist, and" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([Verdict.UNDECIDED], "the other point is undecided"),
        ([Verdict.WORSE_WITHIN], "the other point comes to the same within the margin"),
        ([Verdict.WORSE], ""),
        (
            [Verdict.EQUIVALENT, Verdict.EQUIVALENT, Verdict.UNDECIDED, *[Verdict.WORSE] * 6],
            "of the other 9 points 2 come to the same within the margin and 1 is undecided",
        ),
        (
            [Verdict.EQUIVALENT, Verdict.UNDECIDED, Verdict.UNDECIDED],
            "of the other 3 points 1 comes to the same within the margin and 2 are undecided",
        ),
    ],
)
def test_the_answer_counts_the_points_that_are_level(words: list[Verdict], said: str) -> None:
    row = make_records(3).rows[1]
    assert row.comparison is not None
    rows = [dataclasses.replace(row, comparison=dataclasses.replace(row.comparison, verdict=word))
            for word in words]  # fmt: skip
    assert study_page._level(rows) == said


def test_the_answer_of_two_points_speaks_of_the_other_one() -> None:
    records = make_records(2)
    wide = records.spec.model_copy(update={"answer": AnswerSpec(margin="80 %")})
    said = study_page.answer(dataclasses.replace(records, spec=wide))
    assert "; the other point comes to the same within the margin (validation split" in said


def test_the_page_has_the_headline_and_the_constant_to_beat() -> None:
    records = make_records(12)

    def beside(rmse: float, images: int = 24) -> str:
        samples = [rmse] * images
        about = {"constant": {"says": "a constant prediction", "value": rmse, "samples": samples}}
        done = [
            dataclasses.replace(
                d,
                result=dataclasses.replace(
                    d.result, validation=dataclasses.replace(d.result.validation, about=about)
                ),
            )
            for d in records.done
        ]
        return study_page.report(dataclasses.replace(records, done=done))

    beaten_by_all, beats_all = beside(9.0), beside(0.1)
    assert "The headline" in beaten_by_all
    assert "the runner-up (" in beaten_by_all
    assert "A constant prediction has RMSE 9 m; every network ranked is better." in beaten_by_all
    assert "margin 1 %, " in beaten_by_all
    assert "No better than a constant prediction: " in beats_all
    assert "A constant prediction has RMSE 0.1 m; not shown to be better: points " in beats_all
    assert "against the constant" in beats_all
    unknown = beside(9.0, images=0)
    assert "has RMSE 9 m; not compared with the networks ranked." in unknown
    assert "against the constant" not in unknown


def test_the_answer_says_that_finalists_come_to_the_same() -> None:
    promoted = promotion(verdict=Promoted.EQUIVALENT, comparisons=[beaten(Verdict.BETTER_WITHIN)])
    said = study_page.answer(dataclasses.replace(make_records(5), promoted=promoted))
    assert "comes to the same as the other finalist, and of these it is the simplest" in said


def test_without_values_per_image_nothing_is_said_to_be_told_apart() -> None:
    records = make_records(4)
    bare = [
        dataclasses.replace(
            done,
            result=dataclasses.replace(
                done.result, validation=dataclasses.replace(done.result.validation, samples={})
            ),
        )
        for done in records.done
    ]
    said = study_page.answer(dataclasses.replace(records, done=bare))
    assert "nothing was measured by which points could be told apart" in said


def test_the_commands_write_pages(cli: Cli, storage: str, promoted: Database) -> None:
    made = cli("report", "study", "--out", "r.html", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["study"] == "study"
    compared = cli("compare", "study", "1", "0", WEIGHTSEARCH_STORAGE=storage)
    assert compared.returncode == 0, compared.stderr
    assert "A is better than B" in compared.stdout


# In a browser


def test_a_report_opens_in_a_browser(browser: Any, promoted: Database, tmp_path: Path) -> None:
    found = records.read(promoted.engine, "study")
    shown = Picture(PNG, "A", "told", PNG, "B")
    file = tmp_path / "report.html"
    html.write(file, study_page.report(found, [shown]))
    tab, said, asked = listened(browser)
    tab.route("**/*", lambda r: r.continue_() if r.request.url.startswith("file:") else r.abort())
    tab.goto(file.as_uri())
    tab.wait_for_selector("html[data-drawn]", state="attached")
    plots = tab.evaluate("[...document.querySelectorAll('.plot')].map(p => p.data?.length ?? 0)")
    assert len(plots) > 8
    assert all(plots)
    drawn = tab.evaluate("document.querySelectorAll('.plot .main-svg').length")
    assert drawn >= len(plots)

    tab.locator("input[type=range]").focus()
    before = tab.evaluate("getComputedStyle(document.querySelector('.over')).clipPath")
    tab.keyboard.press("Home")
    after = tab.evaluate("getComputedStyle(document.querySelector('.over')).clipPath")
    assert before != after == "inset(0px 0px 0px 0%)"

    tab.set_viewport_size({"width": 390, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.wait_for_selector(".main-svg[width='672']", state="attached")  # A4 has room for 717
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.wait_for_selector(".main-svg[width='390']", state="attached")
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

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
from support import page_looks
from support.pages import browser, listened, promoted
from support.processes import Cli
from support.records import make_records

from weightsearch.api import report_pages
from weightsearch.errors import StudyError
from weightsearch.report.evidence import records
from weightsearch.report.evidence.card import Card
from weightsearch.report.evidence.records import Records
from weightsearch.report.evidence.verdict import Tone
from weightsearch.report.pages import comparison_page, html, study_page
from weightsearch.report.pages.html import Frame, Part, Pictures, Scale, Section, View
from weightsearch.store.connection.database import Database
from weightsearch.study.point_text import named

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
    part = Part(table=(["a"], [["1"]]), lines=["r"])
    document = html.page("t", Card("v", Tone.GOOD, "s"), [Section("h", [part])])
    assert len(document) < 20_000
    assert Parts(document).scripts[0][0] == ""


def test_what_is_needed_to_read_it_without_eyes_is_there() -> None:
    parts = Parts(study_page.report(make_records(20), PICTURES))
    assert len(parts.ids) == len(set(parts.ids))
    assert ("html", {"lang": "en"}) in parts.tags
    assert all(a.get("alt") for tag, a in parts.tags if tag == "img")
    labels = [k for k, (tag, _) in enumerate(parts.tags) if tag == "input"]
    assert all(parts.tags[k - 1][0] == "label" for k in labels)
    named = [a for tag, a in parts.tags if tag == "div" and a.get("class") == "table"]
    assert named
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in named)
    headings = [tag for tag, _ in parts.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert headings[1] == "h2"
    assert set(headings[1:]) == {"h2", "h3"}
    linked = {a["href"] for tag, a in parts.tags if tag == "a"}
    assert linked <= {f"#{name}" for name in parts.ids}


def test_where_all_failed_the_page_says_so() -> None:
    document = study_page.report(make_records(9, failed=True))
    assert "9 of 9 points failed, none has a result." in document
    assert "Attempts without a result" in document
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in document


def test_a_page_has_at_most_six_parts_in_one_order() -> None:
    document = study_page.report(make_records(40), PICTURES)
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", document)
    assert headings == ["Evidence", "Which weights", "Pictures", "Training", "Where it comes from"]
    assert document.index('id="answer"') < document.index("<h2")


def test_a_reason_cannot_show_a_password() -> None:
    told = "postgresql://me:secret@host/x"
    card = Card(told, Tone.OPEN, told, {"best": told}, told)
    assert "secret" not in html.page(told, card, [Section(told, [Part(text=told, lines=[told])])])


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
    written = report_pages.report(promoted.engine, "study", out, here)
    found = records.read(promoted.engine, "study")
    assert found.promoted is not None
    assert found.headline is not None
    (winner,) = [f for f in found.promoted.finalists if f.validation["rmse"] < 1.1]
    who = named(winner.weights, {})
    assert written.answer == found.headline.sentence
    assert written.answer.startswith(f"{who} has RMSE 0.9")
    document = out.read_text()
    assert document.index("A clear winner") < document.index(found.headline.brief)
    assert "better than every other finalist (3 trained in full)" in document
    assert "The objective is not the depth one, so there are no pictures." in document
    assert "weightsearch report study --out report.html" in document
    assert written.bytes == out.stat().st_size


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


def visible(document: str) -> str:
    bare = re.sub(r"<(script|style)\b.*?</\1>", "", document, flags=re.S)
    return re.sub(r"<[^>]*>", " ", bare)


def test_the_page_of_an_own_objective_knows_neither_metres_nor_images() -> None:
    of_depth = make_records(12)
    own = dataclasses.replace(of_depth, spec=of_depth.spec.model_copy(update={"data": None}))
    page, known = (visible(study_page.report(one)) for one in (own, of_depth))
    for word in ("(m)", " m ", "depth", "image", "picture.jpg"):
        assert word not in page, word
    assert "n = 24 samples" in page
    assert "(m)" in known
    assert "n = 24 images" in known
    assert "scenes" in known
    assert "scene" not in page
    assert "intervals over groups and seeds" in page


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
    assert "the runner-up (" in beaten_by_all
    assert "Not shown to beat a constant" not in beaten_by_all
    assert "A constant prediction has RMSE 9 m; every network ranked is better." in beaten_by_all
    assert "margin 1 %, " in beaten_by_all
    assert '<p class="verdict">No better than a constant</p>' in beats_all
    assert '<span class="worse">worse</span>' in beats_all
    assert "no better than a constant</td>" in beats_all  # behind the map
    assert "A constant prediction has RMSE 0.1 m; no network is shown to be better." in beats_all
    assert "against the constant" in beats_all
    unknown = beside(9.0, images=0)
    assert "has RMSE 9 m; not compared with the networks ranked." in unknown
    assert "against the constant" not in unknown


def test_the_commands_write_pages(cli: Cli, storage: str, promoted: Database) -> None:
    made = cli("report", "study", "--out", "r.html", "--json", WEIGHTSEARCH_STORAGE=storage)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["study"] == "study"
    compared = cli("compare", "study", "1", "0", WEIGHTSEARCH_STORAGE=storage)
    assert compared.returncode == 0, compared.stderr
    assert "A is better than B" in compared.stdout


# In a browser


def test_a_report_opens_in_a_browser(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    html.write(file, study_page.report(make_records(20), PICTURES))
    tab, said, asked = listened(browser)
    tab.route("**/*", lambda r: r.continue_() if r.request.url.startswith("file:") else r.abort())
    tab.goto(file.as_uri())
    tab.wait_for_selector("html[data-drawn]", state="attached")
    plots = tab.evaluate("[...document.querySelectorAll('.plot')].map(p => p.data?.length ?? 0)")
    assert len(plots) > 8
    assert all(plots)
    tab.locator("details.more summary").first.click()
    tab.wait_for_selector("details.more .main-svg")

    assert tab.locator("details.behind[open]").count() == 0
    tab.locator("details.behind summary").first.click()
    assert tab.locator("details.behind[open] table").first.is_visible()

    zoom = tab.locator("input[data-sets=zoom]").first
    zoom.focus()
    tab.keyboard.press("End")
    size = "[...document.querySelectorAll('.lens img')].map(i => getComputedStyle(i).transform)"
    assert set(tab.evaluate(size)) == {"matrix(8, 0, 0, 8, 0, 0)"}
    tab.locator(".lens").first.click()
    assert set(tab.evaluate(size)) == {"matrix(1, 0, 0, 1, 0, 0)"}

    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.wait_for_selector(".main-svg[width='672']", state="attached")  # A4 has room for 717
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.wait_for_selector(".main-svg[width='760']", state="attached")
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    tab.close()


def test_a_report_can_be_read_without_scripts(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page_looks.as_file(tmp_path, study_page.report(make_records(20), PICTURES)))
    assert tab.locator(".verdict").is_visible()
    assert tab.locator("details.behind[open] table").first.is_visible()
    assert not tab.locator(".plot").first.is_visible()
    assert not tab.locator(".zoom").first.is_visible()
    context.close()


def test_a_report_suits_every_width_and_paper(browser: Any, tmp_path: Path) -> None:
    records = make_records(30, encoders=("densenet121",))
    address = page_looks.as_file(tmp_path, study_page.report(records, PICTURES))
    assert page_looks.faults(browser, address) == []


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
VIEWS = [
    View(PNG, what, f"Frame 1: {what}")
    for what in ("Input", "Ground truth", "Prediction: a · 1 mae", "Error: a · 1 mae")
]
SCALES = [Scale("Depth", "0.5 m", "8 m", ["#000000", "#ffffff"])]
PICTURES = Pictures("By a rule.", SCALES, [Frame("Best: room 1, RMSE (m) 0.3", VIEWS)])

"""What the dashboard answers, and with which headers."""

from __future__ import annotations

import json

import pytest
from optuna.trial import TrialState
from support.dashboard_place import Place, say_artifact
from support.dashboard_requests import ARTIFACT, ask

from dashboards.safe_responses import text_only

# What is answered


def test_every_answer_says_how_it_may_be_used(place: Place) -> None:
    app = place.guarded()
    for path in ("/dashboard", "/api/studies", "/static/bundle.js", f"/csv/{place.study}", "/x"):
        headers = ask(app, "GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
        assert ("no-store" in headers.get("cache-control", "")) != path.startswith("/static")
        if path != "/x":
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
    page = ask(app, "GET", "/dashboard").headers["content-security-policy"]
    scripts = next(part for part in page.split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self' 'unsafe-eval'"  # neither inline nor from elsewhere


@pytest.mark.parametrize(
    ("kind", "served"),
    [
        ("text/html", "application/octet-stream"),
        ("text/html; charset=utf-8", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("application/javascript", "application/octet-stream"),
        ("application/xhtml+xml", "application/octet-stream"),
        ("text/xml", "application/octet-stream"),
        ("image/png, text/html", "application/octet-stream"),
        ("IMAGE/PNG", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("text/plain; charset=utf-7", "text/plain"),
        ("application/json", "application/json"),
    ],
)
def test_an_artifact_is_a_download_that_nothing_runs(place: Place, kind: str, served: str) -> None:
    say_artifact(place, "x.html", kind)
    answer = ask(place.guarded(), "GET", f"/artifacts/{place.study}/{ARTIFACT}")
    assert answer.status == 200
    assert answer.body == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == served
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "name",
    [
        "../secret", "..%2fsecret", "%2e%2e/secret", "%2e%2e%2fsecret", "..%252fsecret",
        "....//secret", "..\\secret", "..;/secret", "/etc/passwd", "\xc0\xae\xc0\xae/secret",
        "../../../../../../etc/passwd", f"{ARTIFACT}/../../secret", ".", "a\0", "//secret",
    ],
)  # fmt: skip
def test_an_artifact_is_never_another_file(place: Place, name: str) -> None:
    for folder in (f"/artifacts/{place.study}/", f"/artifacts/{place.study}/{place.finished}/"):
        assert ask(place.guarded(), "GET", folder + name).status == 404
    assert ask(place.guarded(), "GET", f"/static/{name}").status in (403, 404)


def test_the_dashboard_cannot_be_told_another_host(place: Place) -> None:
    answer = ask(place.guarded(), "GET", "/", x_forwarded_host="evil.example")
    assert (answer.status, answer.headers["location"]) == (302, "/dashboard")


def test_the_csv_holds_no_formula(place: Place) -> None:
    answer = ask(place.guarded(), "GET", f"/csv/{place.study}")
    disposition = f'attachment; filename="study-{place.study}.csv"'
    assert answer.headers["content-disposition"] == disposition
    assert int(answer.headers["content-length"]) == len(answer.body)
    header, first, _ = answer.body.decode().splitlines()
    assert header == "Number,State,Value,UserAttribute =1+1,UserAttribute why"
    assert first == "0,COMPLETE,0.5,'=HYPERLINK(0),'-\xe9"


@pytest.mark.parametrize(
    ("cell", "after"),
    [
        ("=1+1", "'=1+1"),
        ("+1 2", "'+1 2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ('"=A,B"', '"\'=A,B"'),
        ('"=""x"""', '"\'=""x"""'),
        ("\t=1", "'\t'=1"),
        ('"\r\n=1"', "\"'\r\n'=1\""),
        ('"\n=1"', "\"'\n'=1\""),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("x;=1+1", "x;'=1+1"),
        ("a - b", "a - b"),
        ("caf\xe9", "caf\xe9"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("-inf", "-inf"),
        ("a=b", "a=b"),
        ('"a\r\n=1"', '"a\r\n\'=1"'),
        ("", ""),
        ('""', '""'),
    ],
)
def test_a_cell_is_text_or_a_number(cell: str, after: str) -> None:
    assert text_only(f"{cell},x,{cell}\r\n{cell}\r\n") == f"{after},x,{after}\r\n{after}\r\n"


def test_the_study_can_be_looked_at(place: Place) -> None:
    app = place.guarded()
    (summary,) = json.loads(ask(app, "GET", "/api/studies").body)["study_summaries"]
    assert summary["study_name"] == "shown"
    shown = json.loads(ask(app, "GET", f"/api/studies/{place.study}").body)
    assert [trial["state"] for trial in shown["trials"]] == ["Complete", "Running"]
    assert place.storage.get_trial(place.running).state is TrialState.RUNNING
    assert ask(app, "HEAD", "/dashboard").body == b""
    for path in ("/dashboard/", "/dashboard/studies/1", "/favicon.ico", "/static/bundle.js"):
        assert ask(app, "GET", path).status == 200

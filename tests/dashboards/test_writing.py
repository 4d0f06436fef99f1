"""Who may write what into the dashboard."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.dashboard_place import OURS, Place
from support.dashboard_requests import ARTIFACT, ask, what_a_write_says, writes

from dashboards import access_control, routes

# Writing


@pytest.mark.parametrize("writable", [False, True])
def test_no_write_route_changes_what_the_ledger_says(place: Place, writable: bool) -> None:
    app, before = place.guarded(writable), place.everything()
    asked = 0
    for method, rule in writes(place.bare):
        if writable and f"{method} {rule}" in routes.WRITE:
            continue
        answer = ask(app, method, place.path(rule), what_a_write_says(), **OURS)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD"), (method, rule)
        in_json = answer.headers["content-type"].startswith("application/json")
        assert in_json == rule.startswith("/api/")  # for the page to show the reason
        assert place.everything() == before, (method, rule)
        asked += 1
    assert asked == (18 if writable else 20)


def test_no_reading_route_changes_anything(place: Place) -> None:
    app, before = place.guarded(writable=True), place.everything()
    for rule in (route.rule for route in place.bare.routes if route.method == "GET"):
        assert ask(app, "GET", place.path(rule)).status in (200, 302, 400, 404), rule
        assert place.everything() == before, rule


def test_the_bare_dashboard_lets_anybody_write(place: Place) -> None:
    """What this front is for; if it fails, the dashboard has become safer than it was."""
    tell = f"/api/trials/{place.running}/tell"
    told = {"state": "complete", "values": [-999]}
    kind = {"content_type": "application/json"}
    assert ask(place.bare, "POST", tell, told, host="evil.example", **kind).status == 204
    assert place.storage.get_best_trial(place.study).value == -999
    html = ask(place.bare, "GET", f"/artifacts/{place.study}/{ARTIFACT}")
    assert html.headers["content-type"].startswith("text/html")
    assert html.headers["access-control-allow-origin"] == "*"
    assert "content-security-policy" not in html.headers
    assert b"=HYPERLINK" in ask(place.bare, "GET", f"/csv/{place.study}").body
    assert ask(place.bare, "DELETE", f"/api/studies/{place.study}", {}, **kind).status == 204


def test_a_writable_dashboard_takes_notes(place: Place) -> None:
    app = place.guarded(writable=True)
    for path in (f"/api/studies/{place.study}/note", f"/api/studies/{place.study}/{1}/note"):
        answer = ask(app, "PUT", path, {"version": 1, "body": "a note"}, **OURS)
        assert (answer.status, json.loads(answer.body)) == (200, {})  # not 204: the page parses it
    kept = place.storage.get_study_system_attrs(place.study)
    assert [value for key, value in kept.items() if "note_str" in key] == ["a note", "a note"]


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (403, {"Origin": "http://evil.example"}, {}),
        (403, {"Origin": "null"}, {}),
        (403, {"Origin": ""}, {}),
        (403, {"Origin": "http://127.0.0.1:9999"}, {}),
        (403, {"Sec-Fetch-Site": "same-site"}, {}),
        (411, {}, None),
        (411, {"Transfer-Encoding": "chunked"}, {}),
        (411, {"Content-Length": "-1"}, {}),
        (413, {"Content-Length": str(access_control.MAX_BODY_BYTES + 1)}, {}),
        (413, {"Content-Length": "9" * 5000}, {}),
        (415, {"Content-Type": "text/plain"}, {}),
        (415, {"Content-Type": "application/x-www-form-urlencoded"}, {}),
    ],
)
def test_a_write_comes_from_our_own_page_in_one_bounded_piece(
    place: Place, status: int, headers: dict[str, str], body: Any
) -> None:
    app, before = place.guarded(writable=True), place.everything()
    path = f"/api/studies/{place.study}/note"
    assert ask(app, "PUT", path, body, **(OURS | headers)).status == status
    assert place.everything() == before


def test_a_write_without_an_origin_is_refused(place: Place) -> None:
    app = place.guarded(writable=True)
    path, body = f"/api/studies/{place.study}/note", {"version": 1, "body": ""}
    assert ask(app, "PUT", path, body, content_type="application/json").status == 403


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{", b"", b"\xff", b"9" * 5000, b'"text"'])
def test_a_write_that_is_no_note_is_an_error_and_changes_nothing(place: Place, body: bytes) -> None:
    app, before = place.guarded(writable=True), place.everything()
    answer = ask(app, "PUT", f"/api/studies/{place.study}/note", body, **OURS)
    assert answer.status in (400, 500)
    assert b"Traceback" not in answer.body
    assert place.everything() == before


def test_the_body_of_a_get_is_never_read(place: Place) -> None:
    body = {"content_type": "application/x-www-form-urlencoded", "content_length": "134217728"}
    assert ask(place.guarded(), "GET", f"/api/studies/{place.study}", b"x=", **body).status == 200


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PATCH", "CONNECT", "PROPFIND"])
def test_no_other_method_is_known(place: Place, method: str) -> None:
    app = place.guarded(writable=True)
    assert ask(app, method, "/api/studies", {}, **OURS).status in (403, 405)

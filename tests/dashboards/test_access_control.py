"""The front of optuna-dashboard, asked request by request, over the real dashboard.

The same attempts are made on the bare dashboard, where they succeed: what is refused here is real.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from bottle import Bottle
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from optuna_dashboard import wsgi
from support.dashboard_requests import ARTIFACT, HOST, ask, fill, what_a_write_says, writes
from support.paths import ROOT

from dashboards import front, routes
from dashboards.answers import text_only
from dashboards.front import Access, guarded

TOKEN = "a-token-of-the-tests"
OURS = {"Origin": f"http://{HOST}", "Content-Type": "application/json"}


@dataclass
class Place:
    """A dashboard over one study with a finished trial and a running one."""

    storage: InMemoryStorage
    bare: Bottle
    study: int
    finished: int
    running: int

    def guarded(self, writable: bool = False, **settings: Any) -> Any:
        """The front for somebody who has been let in."""
        access = Access(TOKEN, writable=writable, **settings)
        app = guarded(self.bare, access)

        def known(environ: Any, start_response: Any) -> Any:
            cookie = f"theirs=1; weightsearch-{environ['SERVER_PORT']}={access.cookie}"
            environ.setdefault("HTTP_COOKIE", cookie)
            return app(environ, start_response)

        return known

    def path(self, rule: str, trial: int | None = None) -> str:
        """The rule with the ids of what is there."""
        return fill(rule, self.study, trial or self.running)

    def everything(self) -> str:
        """All that Optuna knows."""
        return repr(
            [
                (study.__dict__, self.storage.get_all_trials(study._study_id))
                for study in self.storage.get_all_studies()
            ]
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    storage = InMemoryStorage()
    study = optuna.create_study(study_name="shown", storage=storage)
    finished = optuna.create_trial(value=0.5, user_attrs={"=1+1": "=HYPERLINK(0)", "why": "-\xe9"})
    study.add_trial(finished)
    study.ask()
    first, second = storage.get_all_trials(study._study_id)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / ARTIFACT).write_bytes(b"<script>alert(1)</script>")
    (tmp_path / "secret").write_bytes(b"s3cret")
    bare = wsgi(storage, artifact_store=FileSystemArtifactStore(tmp_path / "artifacts"))
    place = Place(storage, bare, study._study_id, first._trial_id, second._trial_id)
    say_artifact(place, "x.html", "text/html")
    return place


def say_artifact(place: Place, filename: str, mimetype: str) -> None:
    meta = {"artifact_id": ARTIFACT, "filename": filename, "mimetype": mimetype, "encoding": None}
    place.storage.set_study_system_attr(place.study, f"artifacts:{ARTIFACT}", json.dumps(meta))


# The routes


def registered() -> set[str]:
    app = wsgi(InMemoryStorage())
    return {f"{route.method} {route.rule}" for route in app.routes}


def test_each_route_of_the_dashboard_is_decided_on_once() -> None:
    decided = [*routes.READ, *routes.WRITE, *routes.REFUSED]
    assert len(decided) == len(set(decided))
    assert set(decided) == registered()


def test_each_decision_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "browsing.md").read_text()
    listed = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", page, re.M))
    assert listed == registered() | routes.PAGES


def test_a_route_of_a_new_release_is_closed_until_it_is_decided_on(place: Place) -> None:
    place.bare.get("/api/new", callback=lambda: "new")
    place.bare.post("/api/new", callback=lambda: "new")
    for method in ("GET", "POST"):
        answer = ask(place.guarded(writable=True), method, "/api/new", {}, **OURS)
        assert answer.status == 405
        assert "does not know" in json.loads(answer.body)["reason"]


def test_figures_come_in_the_order_of_the_report(place: Place) -> None:
    names = ["x", "timeline", "ternary_10", "ternary_2", "cost", "ranking", "ternary_0", "y_z"]
    for name in names:
        key = f"dashboard:plot_data:{name}:0"
        place.storage.set_study_system_attr(place.study, key, '{"data": [], "layout": {}}')
    answer = ask(place.guarded(), "GET", f"/api/studies/{place.study}")
    told = json.loads(answer.body)
    assert [figure["id"] for figure in told["plotly_graph_objects"]] == [
        "ranking", "ternary_0", "ternary_2", "ternary_10", "cost", "timeline", "x", "y_z",
    ]  # fmt: skip
    assert answer.headers["content-length"] == str(len(answer.body))
    assert len(told["trials"]) == 2


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
        (413, {"Content-Length": str(front.MAX_BODY_BYTES + 1)}, {}),
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


# Who asks


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "127.0.0.1@evil.example",
        "evil.example,127.0.0.1", "", "localhost:", "[::1", "127.0.0.1:8080:80", "127.0.0.1/",
        " 127.0.0.1", "127.0.0.1:8080@evil.example", "0.0.0.0", "2130706433",
    ],
)  # fmt: skip
def test_it_answers_under_no_foreign_name(place: Place, host: str) -> None:
    for path in ("/api/studies", f"/?token={TOKEN}", "/dashboard"):
        assert ask(place.guarded(), "GET", path, host=host).status == 421


def test_it_answers_under_its_own_names_and_those_that_are_given(place: Place) -> None:
    app = place.guarded(hosts=front.LOOPBACK | {"depth.example"})
    for host in ("127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "Depth.Example:443"):
        origin = f"https://{host}"
        assert ask(app, "GET", "/api/studies", host=host, origin=origin).status == 200
    assert ask(place.guarded(), "GET", "/api/studies", host="depth.example").status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"ftp://{HOST}"},
        {"Origin": f"http://{HOST}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "anything"},
    ],
)
def test_another_site_learns_nothing(place: Place, headers: dict[str, str]) -> None:
    for path in ("/api/studies", "/dashboard", f"/?token={TOKEN}", f"/csv/{place.study}"):
        assert ask(place.guarded(), "GET", path, **headers).status == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_page_and_the_address_line_may_ask(place: Place, site: str) -> None:
    assert ask(place.guarded(), "GET", "/api/studies", sec_fetch_site=site).status == 200


def test_without_the_token_there_is_nothing(place: Place) -> None:
    app = guarded(place.bare, access := Access(TOKEN))
    for route in registered():
        method, rule = route.split(" ", 1)
        assert ask(app, method, place.path(rule), {}, **OURS).status == 401, route
    for path in ("/?token=", "/?token=wrong", f"/?token={TOKEN}x", f"/?token={TOKEN.upper()}"):
        assert ask(app, "GET", path).status == 401
    for cookie in (
        "weightsearch-8080=", "weightsearch-8080=wrong", f"weightsearch-8080={TOKEN}",
        f"weightsearch-8081={access.cookie}", f"weightsearch={access.cookie}", ";;=;", "\xff",
    ):  # fmt: skip
        assert ask(app, "GET", "/api/studies", cookie=cookie).status == 401
    assert TOKEN not in repr(access)
    assert access.cookie not in repr(access)


def test_the_token_becomes_a_cookie_and_leaves_the_address(place: Place) -> None:
    app = guarded(place.bare, Access(TOKEN))
    answer = ask(app, "GET", f"/?token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/dashboard")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert set(attributes) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert TOKEN not in str(answer)
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert ask(app, "GET", "/api/studies", cookie=cookie).status == 200
    other = guarded(place.bare, Access(TOKEN))  # the same token, another process
    assert ask(other, "GET", "/api/studies", cookie=cookie).status == 401


@pytest.mark.parametrize(
    ("path", "place_after"),
    [
        ("/dashboard/studies/1", "/dashboard/studies/1"),
        ("//evil.example", "/dashboard"),
        ("/dashboard//evil.example", "/dashboard"),
        ("/dashboard/\r\nSet-Cookie: a=b", "/dashboard"),
        ("https://evil.example/dashboard/", "/dashboard"),
        ("/\\evil.example", "/dashboard"),
        ("/dashboard/../../x", "/dashboard"),
    ],
)
def test_after_the_token_the_way_leads_to_a_page_of_ours(
    place: Place, path: str, place_after: str
) -> None:
    answer = ask(guarded(place.bare, Access(TOKEN)), "GET", f"{path}?token={TOKEN}")
    assert answer.headers["location"] == place_after


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

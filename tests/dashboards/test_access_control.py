"""The front of optuna-dashboard, asked request by request, over the real dashboard.

The same attempts are made on the bare dashboard, where they succeed: what is refused here is real.
"""

from __future__ import annotations

import json
import re

import pytest
from optuna.storages import InMemoryStorage
from optuna_dashboard import wsgi
from support.dashboard_place import OURS, TOKEN, Place
from support.dashboard_requests import HOST, ask
from support.paths import ROOT

from dashboards import access_control, routes
from dashboards.access_control import Access, guarded

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
    names = ["x", "timeline", "map_10", "map_2", "cost", "ranking", "map_0", "y_z"]
    for name in names:
        key = f"dashboard:plot_data:{name}:0"
        place.storage.set_study_system_attr(place.study, key, '{"data": [], "layout": {}}')
    answer = ask(place.guarded(), "GET", f"/api/studies/{place.study}")
    told = json.loads(answer.body)
    assert [figure["id"] for figure in told["plotly_graph_objects"]] == [
        "ranking", "map_0", "map_2", "map_10", "cost", "timeline", "x", "y_z",
    ]  # fmt: skip
    assert answer.headers["content-length"] == str(len(answer.body))
    assert len(told["trials"]) == 2


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
    app = place.guarded(hosts=access_control.LOOPBACK | {"depth.example"})
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
    assert (answer.status, answer.headers["location"]) == (303, "/")
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
        ("//evil.example", "/"),
        ("/dashboard//evil.example", "/"),
        ("/dashboard/\r\nSet-Cookie: a=b", "/"),
        ("https://evil.example/dashboard/", "/"),
        ("/\\evil.example", "/"),
        ("/dashboard/../../x", "/"),
    ],
)
def test_after_the_token_the_way_leads_to_a_page_of_ours(
    place: Place, path: str, place_after: str
) -> None:
    answer = ask(guarded(place.bare, Access(TOKEN)), "GET", f"{path}?token={TOKEN}")
    assert answer.headers["location"] == place_after

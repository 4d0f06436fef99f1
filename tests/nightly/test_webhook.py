"""The verdict to a webhook: tried again where that helps, and its URL shown nowhere."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support import nightly_sweeps
from support.command_runs import Run, run_all

from weightsearch.errors import ConfigError
from weightsearch.nightly import webhook
from weightsearch.runtime import safe_text
from weightsearch.store.ledger.stored_night import NightVerdict, NightWord

SECRET = "T0K3N-of-the-hook"


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_text, "_secrets", set())


class Chat:
    """A server that answers with these codes, the last one from then on, and what it was told."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.told = list(codes), list[Any]()
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                chat.told.append((self.path, self.headers["Content-Type"], json.loads(body)))
                code = chat.codes.pop(0) if len(chat.codes) > 1 else chat.codes[0]
                self.send_response(code)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/{SECRET}"


@contextmanager
def serving(*codes: int) -> Iterator[Chat]:
    chat = Chat(*codes)
    thread = threading.Thread(target=chat.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield chat
    finally:
        chat.server.shutdown()
        chat.server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("codes", "taken", "tries", "slept"),
    [
        ([500, 200], True, 2, [1.0]),
        ([503, 429, 502, 200], True, 4, [1.0, 5.0, 30.0]),
        ([500], False, 4, [1.0, 5.0, 30.0]),
        ([404], False, 1, []),
        ([302], False, 1, []),
    ],
)
def test_it_is_tried_again_where_that_may_help(
    codes: list[int],
    taken: bool,
    tries: int,
    slept: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    waited: list[float] = []
    with serving(*codes) as chat:
        assert webhook.send(chat.url, {"text": "hello"}, sleep=waited.append) is taken
    assert waited == slept
    assert chat.told == [(f"/services/{SECRET}", "application/json", {"text": "hello"})] * tries
    assert (f"the webhook was not told: HTTP {codes[-1]}" in caplog.text) is not taken
    assert SECRET not in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/SECRET", "http://SECRET.invalid/x"])
def test_a_server_that_is_not_there_is_said_without_its_url(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert not webhook.send(url.replace("SECRET", SECRET), {}, delays_s=())
    assert "the webhook was not told: " in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "url", [SECRET, f"ftp://host/{SECRET}", f"http:///{SECRET}", f"http://host:{SECRET}/",
            f"http://[{SECRET}/", f"http://host/a b{SECRET}", f"http://host/ü{SECRET}"],
)  # fmt: skip
def test_what_is_no_url_is_refused_without_being_quoted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(webhook.VARIABLE, url)
    with pytest.raises(ConfigError) as raised:
        webhook.take_url()
    assert SECRET not in str(raised.value)
    assert raised.value.__context__ is None
    assert webhook.VARIABLE not in os.environ


def test_nothing_in_a_message_calls_anybody() -> None:
    verdict = NightVerdict(
        sweep="s", night="n", commit="c", began_at="", level=0.02, verdict=NightWord.REGRESSION,
        answer="worse: <!channel> & <http://x|y>",
    )  # fmt: skip
    said = webhook.message(verdict, "https://ci/job?a=1&b=2")["text"]
    assert said == (
        "*Regression: s, n*\nworse: &lt;!channel&gt; &amp; &lt;http://x|y&gt;"
        "\n<https://ci/job?a=1&amp;b=2|The job>"
    )


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, None),
        ({"CI_JOB_URL": "https://gitlab/1"}, "https://gitlab/1"),
        ({"BUILD_URL": "https://jenkins/1"}, "https://jenkins/1"),
        (
            {"GITHUB_SERVER_URL": "https://g", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"},
            "https://g/a/b/actions/runs/7",
        ),
        ({"GITHUB_SERVER_URL": "https://g"}, None),
    ],
)
def test_the_job_is_found_in_each_ci(environment: dict[str, str], url: str | None) -> None:
    assert webhook.job_url(environment) == url


def test_a_night_tells_the_webhook_and_its_workers_never_see_the_url(
    storage: str, tmp_path: Path
) -> None:
    small = {"seeds": "seeds = [1, 2, 3]", "trials": "trials = 0", '    { name = "fit",': ""}
    file = nightly_sweeps.sweep(tmp_path, **small)
    objective = tmp_path / "ours.py"
    facts = "{k: v for k, v in os.environ.items() if 'STORAGE' not in k}"
    seen = f"import os; Path({str(tmp_path / 'seen')!r}).write_text(str({facts}))"
    objective.write_text(objective.read_text().replace("FAULT =", f"{seen}\nFAULT ="))
    command = ["nightly", file, "--commit", "abc", "--device", "cpu", "--workers", "1"]
    with serving(200) as chat:
        environment = {"WEIGHTSEARCH_STORAGE": storage, webhook.VARIABLE: chat.url}
        (said,) = run_all([Run(command, environment)], tmp_path, 240)
    assert said.code == 4, said.err
    ((_, _, body),) = chat.told
    assert body["text"].startswith("*Not judged: ours, ")
    assert "there is no baseline" in body["text"]
    logs = "".join(p.read_text() for p in (tmp_path / "home" / "logs").rglob("*.log"))
    everything = said.out + said.err + logs + (tmp_path / "seen").read_text()
    assert "WEIGHTSEARCH_HOME" in everything
    assert SECRET not in everything

"""optuna-dashboard behind our front: it shows studies, and cannot be used to change them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from conftest import make_spec

from weightsearch import plan
from weightsearch.store import ledger
from weightsearch.store.database import Database
from weightsearch.store.mirror import Mirror


@pytest.fixture
def port(opened: Database, storage: str, tmp_path: Path) -> Iterator[int]:
    """A running `weightsearch dashboard` over a study with one finished attempt."""
    spec = make_spec()
    study = ledger.create(opened.engine, "shown", spec, plan.plan(spec))
    lease = ledger.claim(opened.engine, study.id, "w", "cpu", 60)
    assert lease is not None
    result = {
        "outcome": "done", "metrics": {"rmse": 0.5}, "samples": {}, "groups": [], "images": 1
    }  # fmt: skip
    ledger.finish(opened.engine, lease, result)
    mirror = Mirror(opened, study)
    mirror.sync()
    mirror.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "weightsearch", "dashboard", "--port", "0"],
        env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline()
    assert address.startswith("http://127.0.0.1:")
    yield int(address.split(":")[2].split("/")[0])
    process.terminate()
    process.communicate()


def ask(port: int, method: str, path: str, host: str = "127.0.0.1") -> tuple[int, str, str]:
    """Status, body and the content-type-options header of an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={"Host": host, "Content-Type": "application/json"})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, answer.headers.get("X-Content-Type-Options", "")


def test_it_shows_the_study_and_refuses_to_change_it(port: int, opened: Database) -> None:
    status, body, sniffing = ask(port, "GET", "/api/studies")
    assert (status, sniffing) == (200, "nosniff")
    studies = json.loads(body)["study_summaries"]
    assert {s["study_name"] for s in studies} == {"shown", "shown-promotion"}
    number = next(s["study_id"] for s in studies if s["study_name"] == "shown")
    trials = json.loads(ask(port, "GET", f"/api/studies/{number}")[1])["trials"]
    assert [t["state"] for t in trials] == ["Complete"]
    assert ask(port, "GET", "/dashboard")[0] == 200

    for method, path in [
        ("DELETE", f"/api/studies/{number}"),
        ("POST", "/api/studies"),
        ("POST", f"/api/trials/{trials[0]['trial_id']}/tell"),
        ("PUT", f"/api/studies/{number}/note"),
        ("POST", "/incompatible-rdb-schema"),
    ]:
        assert ask(port, method, path)[0] == 405
    assert len(json.loads(ask(port, "GET", "/api/studies")[1])["study_summaries"]) == 2


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
def test_it_answers_under_no_foreign_name(port: int, host: str) -> None:
    assert ask(port, "GET", "/api/studies", host)[0] == 421


def test_a_port_in_use_is_one_line(port: int, storage: str, tmp_path: Path) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "weightsearch", "dashboard", "--port", str(port)],
        env=os.environ | {"WEIGHTSEARCH_STORAGE": storage},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"port {port} must be free" in second.stderr

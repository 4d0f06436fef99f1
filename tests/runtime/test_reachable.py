"""Why a server cannot be reached is said in words."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from weightsearch.runtime.reachable import unreachable
from weightsearch.runtime.safe_text import counted


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its name cannot be looked up: is"),
        (TimeoutError("timed out"), "no answer within 5 s"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        ("no host given", "no host given"),
    ],
)
def test_the_reason_has_no_number_of_an_error(
    reason: Exception | str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise urllib.error.URLError(reason)

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    told = unreachable("https://hub.invalid")
    assert told is not None
    assert told.startswith(said)
    assert "Errno" not in told


def test_what_is_counted_agrees_with_its_number() -> None:
    assert [counted(n, "epoch") for n in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]
    assert counted(1, "entry", "entries") == "1 entry"
    assert counted(3, "entry", "entries") == "3 entries"

"""What is said on stderr fits the screen of whoever waits."""

from __future__ import annotations

import logging

import pytest

from weightsearch.runtime import line_width

PATH = "/somewhere/" + "deep/" * 12 + "file.toml"
SAID = f"study toy is expected to take {'long ' * 20}and lies in {PATH}; --promote-top changes it"


@pytest.mark.parametrize("columns", ["40", "80"])
def test_sentences_and_logs_are_wrapped_and_no_path_is_broken(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    line_width.say(SAID)
    said = capsys.readouterr().err
    handler = logging.Handler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    line_width.wrap_logs()
    record = logging.makeLogRecord({"msg": "%s", "args": (SAID,)})
    assert handler.format(record) + "\n" == said
    lines = said.splitlines()
    assert len(lines) > 3
    assert {len(line) > int(columns) for line in lines if PATH not in line} == {False}
    assert any(PATH in line for line in lines)
    assert said.split() == SAID.split()


def test_where_nobody_looks_at_a_screen_lines_are_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    line_width.say(SAID)
    assert capsys.readouterr().err == f"{SAID}\n"


def test_a_line_of_a_launchs_progress_is_wrapped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from weightsearch.launch.display.progress import display

    monkeypatch.setenv("COLUMNS", "40")
    with display("search") as shown:
        shown.say(SAID)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 3
    assert all(len(line) <= 40 for line in lines if PATH not in line)


def test_a_traceback_in_a_log_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
    line_width.wrap_logs()
    (handler,) = logging.getLogger().handlers
    trace = f'Traceback:\n  File "{PATH}", line 3, in a function with a long name\nKeyError'
    record = logging.LogRecord("", logging.ERROR, "", 0, trace, None, None)
    assert handler.format(record) == trace
    record = logging.LogRecord("", logging.ERROR, "", 0, SAID, None, None)
    assert len(handler.format(record).splitlines()) > 3

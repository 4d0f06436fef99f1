"""The documented CI jobs, run as shell: exit code, JUnit file and summary say what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import junitparser
import pytest
import yaml
from support import nightly_sweeps, shell_commands
from support.paths import ROOT

from weightsearch.commands import nightly as nightly_command

PAGE = (ROOT / "docs" / "nightly.md").read_text().split("## In CI")[1].split("\n## ")[0]
SMALL = {
    "seeds": "seeds = [1, 2, 3]",
    "trials": "trials = 0",
    '    { name = "fit",': "",
}


@dataclass(frozen=True)
class Job:
    """What a CI shows of a job, and what it left."""

    colour: str
    code: int
    """Of the script."""
    out: str
    summary: str
    tests: junitparser.TestSuite


Shown = Callable[[int, Path], str]


def snippet(language: str, start: str) -> str:
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    (found,) = [block for block in blocks if block.startswith(start)]
    return found


def github() -> tuple[list[str], str, Shown]:
    """As GitHub runs a step (`bash -e`); the colours of the night and of the job that needs it."""
    jobs = yaml.safe_load(snippet("yaml", "jobs:"))["jobs"]
    (step,) = jobs["nightly"]["steps"]
    assert step["env"].keys() == {"WEIGHTSEARCH_STORAGE", "WEIGHTSEARCH_WEBHOOK"}
    assert jobs["judged"]["if"] == "needs.nightly.outputs.judged == 'true'"
    assert jobs["nightly"]["outputs"]["judged"] == "${{ steps.night.outputs.judged }}"

    def shown(code: int, folder: Path) -> str:
        judged = "judged=true" in (folder / "output").read_text().splitlines()
        return "red" if code else "green" if judged else "grey"

    return ["bash", "-e", "-c"], step["run"], shown


def gitlab() -> tuple[list[str], str, Shown]:
    job = yaml.safe_load(snippet("yaml", "nightly:"))["nightly"]
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"]["junit"] == "nightly.xml"
    allowed = job["allow_failure"]["exit_codes"]

    def shown(code: int, folder: Path) -> str:
        return "green" if code == 0 else "orange" if code == allowed else "red"

    return ["bash", "-eo", "pipefail", "-c"], "\n".join(job["script"]), shown


def jenkins() -> tuple[list[str], str, Shown]:
    pipeline = snippet("groovy", "pipeline")
    (script,) = re.findall(r"sh\(returnStatus: true, script: '(.*)'\)", pipeline)
    (unstable,) = re.findall(r"if \(code == (\d)\) \{ unstable\(", pipeline)
    assert "else if (code != 0) { error(" in pipeline
    assert "junit testResults: 'nightly.xml'" in pipeline

    def shown(code: int, folder: Path) -> str:
        return "green" if code == 0 else "unstable" if code == int(unstable) else "red"

    return ["sh", "-xec"], script, shown


@pytest.fixture
def job(tmp_path: Path, storage: str) -> Callable[..., Job]:
    """Runs a CI's snippet on a small sweep, in a folder of its own."""
    file = nightly_sweeps.sweep(tmp_path, **SMALL)

    def run(ci: Callable[[], Any], commit: str, fault: str = "") -> Job:
        shell, script, shown = ci()
        (tmp_path / "fault").write_text(fault)
        folder = tmp_path / f"{ci.__name__}-{commit}"
        folder.mkdir()
        (folder / "output").touch()
        assert script.count(" nightly-cpu ") == 1
        small = f" {file} --commit {commit} --device cpu --workers 1 "
        ran = shell_commands.run(
            shell,
            script.replace(" nightly-cpu ", small),
            folder,
            WEIGHTSEARCH_STORAGE=storage,
            **({"GITHUB_OUTPUT": str(folder / "output")} if ci is github else {}),
            **({"GITHUB_STEP_SUMMARY": str(folder / "nightly.md")} if ci is github else {}),
        )
        assert (folder / "nightly.xml").exists(), ran.stderr
        return Job(
            shown(ran.returncode, folder),
            ran.returncode,
            ran.stdout,
            (folder / "nightly.md").read_text(),
            suite(folder / "nightly.xml"),
        )

    return run


def suite(file: Path) -> junitparser.TestSuite:
    """The suite, and all that Jenkins and GitLab read of a file is there."""
    root = ElementTree.parse(file).getroot()
    assert [root.tag, *(child.tag for child in root)] == ["testsuites", "testsuite"]
    for case in root.iter("testcase"):
        assert case.get("classname")
        assert case.get("name")
        for element in (*case.findall("failure"), *case.findall("skipped")):
            assert element.text == element.get("message")  # GitLab shows the one, Jenkins the other
    (found,) = junitparser.JUnitXml.fromfile(str(file))
    counted = (found.tests, found.failures, found.skipped, found.errors)
    found.update_statistics()  # counts for itself
    assert counted == (found.tests, found.failures, found.skipped, found.errors)
    assert isinstance(found, junitparser.TestSuite)
    return found


def results(found: junitparser.TestSuite) -> dict[str, str]:
    """Per test case `passed`, or the kind of its result."""
    return {
        f"{case.classname} {case.name}": type(case.result[0]).__name__ if case.result else "passed"
        for case in found
    }


NOT_JUDGED = {"github": ("grey", 0), "gitlab": ("orange", 4), "jenkins": ("unstable", 4)}


def test_a_first_night_a_regression_and_too_little_done_are_told_apart_in_every_ci(
    job: Callable[..., Job], tmp_path: Path, storage: str
) -> None:
    enough = "ours enough was done to judge"
    for ci in (github, gitlab, jenkins):  # the first runs the night, the others report it again
        first = job(ci, "first")
        assert (first.colour, first.code) == NOT_JUDGED[ci.__name__]
        assert results(first.tests) == {enough: "Skipped"}
        (case,) = first.tests
        assert "there is no baseline" in case.result[0].message
        assert re.search(r"equal, rmse, 0\.\d{4}, 0\.\d{4}, 3 of 3", case.system_out)
        assert "## Not judged: ours" in first.summary
        assert re.search(r"\| equal \| rmse \| 0\.\d{4} \| 0\.\d{4} \| 3 of 3 \|", first.summary)
        assert ("::warning title=Nightly not judged::" in first.out) == (ci is github)
        (night,) = re.findall(r"--night (\S+)", case.result[0].message)
    command = f"weightsearch nightly accept ours --night {night} --why good"
    accepted = shell_commands.run(["sh", "-c"], command, tmp_path, WEIGHTSEARCH_STORAGE=storage)
    assert accepted.returncode == 0, accepted.stderr
    for ci in (jenkins, github, gitlab):
        raised = job(ci, "flipped", "sign")
        assert (raised.colour, raised.code) == ("red", 3)
        assert results(raised.tests)["ours.equal rmse"] == "Failure"
        assert results(raised.tests)[enough] == "passed"
        assert "rmse of canary equal" in next(iter(raised.tests)).result[0].message
        assert "## Regression: ours" in raised.summary
    for ci in (gitlab, jenkins, github):
        broken = job(ci, "broken", "crash")
        assert (broken.colour, broken.code) == NOT_JUDGED[ci.__name__]
        assert results(broken.tests) == {enough: "Skipped"}
        assert "canary equal has 0 of 3 seeds done" in next(iter(broken.tests)).result[0].message
        assert "## Not judged: ours" in broken.summary
    good = job(github, "good")
    assert (good.colour, good.code) == ("green", 0)
    assert set(results(good.tests).values()) == {"passed"}
    assert "## No regression: ours" in good.summary


def test_a_file_that_cannot_be_written_costs_no_other_and_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "absent" / "summary.md"
    nightly_command._publish(lambda: _written(absent))
    nightly_command._publish(lambda: _written(tmp_path / "junit.xml"))
    assert capsys.readouterr().err == f"error: {absent}: No such file or directory.\n"
    assert (tmp_path / "junit.xml").exists()


def _written(file: Path) -> None:
    file.write_text("<xml/>")

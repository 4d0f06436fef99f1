"""What people read: whole lines, every number with its protocol."""

from __future__ import annotations

import io
import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.specs import make_spec
from support.verdicts import finalist, promotion

from weightsearch.commands.printing import data_sets, launch_result, study_status
from weightsearch.launch.display.progress import Standing, _panel
from weightsearch.launch.session import Launched
from weightsearch.report.evidence.answer import Ranking
from weightsearch.report.evidence.constant import Constant
from weightsearch.report.evidence.headline import Headline
from weightsearch.report.evidence.ranking import RankedPoint, Yardstick
from weightsearch.runtime import own_traceback
from weightsearch.runtime.tables import Form
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.stats.reliability import reliability
from weightsearch.study import loading
from weightsearch.study.objective_contract import Summary

LONG = "efficientnet_with_a_name_that_is_longer_than_any_other_one_in_timm.pretrained_in1k"


def answer(protocol: str | None = "full") -> Ranking:
    """That of `best`, with two rows."""
    row = RankedPoint(
        rank=1, point="abc", number=7, params={"encoder": LONG},
        weights={"mae": 0.25, "edge": 0.75}, value=0.5, metrics={"rmse": 0.5, "rel": 0.1},
        interval=(0.4, 0.6), comparison=None, against_constant=Verdict.BETTER, images=12, epoch=1,
        seconds=1.0, device="cpu",
    )  # fmt: skip
    undecided = Comparison(0.1, -0.1, 0.3, Verdict.UNDECIDED, 12, 4, 1, 0.95)
    same = replace(undecided, verdict=Verdict.EQUIVALENT)
    rows = [
        row,
        replace(row, rank=2, params={"encoder": "x"}, comparison=same),
        replace(row, rank=3, number=8, comparison=undecided, against_constant=Verdict.UNDECIDED),
    ]
    told = Headline("abc", "0.75 edge", "rmse", 0.5, 1, False, "1 %", (), 60.0)
    return Ranking(
        study="toy-grid",
        yardstick=Yardstick("rmse", protocol),
        margin="1 %",
        rows=rows,
        guards=(),
        constant=Constant("a constant prediction of 2.5 m", 0.7, [], ["a", "b"]),
        reliability=reliability([[1.0, 1.1], [2.0, 2.2]]),
        headline=told,
        promoted=None,
    )


def test_a_ranking_marks_what_is_level_with_the_first_and_what_learned_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    launch_result.ranking(answer())
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if "0.5000" in line] == [
        "1",
        "2=",
        "3~!",
    ]
    said = " ".join(said.split())
    assert (
        "= equivalent to the first within 1 %; ~ undecided against the first; ! not shown" in said
    )
    assert "a constant prediction of 2.5 m: rmse 0.7000; not shown to be better: point 8 " in said
    assert str(answer().reliability) in said
    assert "Next: " not in said
    launch_result.ranking(replace(answer(), next_step="`weightsearch promote s` does it."))
    assert capsys.readouterr().out.endswith("\nNext: `weightsearch promote s` does it.\n")
    assert "no intervals" not in said
    rows = [replace(row, against_constant=Verdict.BETTER, interval=None) for row in answer().rows]
    launch_result.ranking(replace(answer(), rows=rows))
    said = " ".join(capsys.readouterr().out.split())
    assert "n = 12 images, one seed; no intervals, which take two scenes; =" in said
    assert "rmse 0.7000; every network ranked is better " in said


def test_a_ranking_says_which_networks_were_never_compared_with_the_constant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of metrics without values per image nothing is."""

    def said(*words: Verdict | None) -> str:
        rows = zip(answer().rows, words, strict=True)
        told = [replace(row, number=k, against_constant=w) for k, (row, w) in enumerate(rows)]
        launch_result.ranking(replace(answer(), rows=told))
        out = capsys.readouterr().out.partition("rmse 0.7000; ")[2]
        return " ".join(out.partition("reliability")[0].split())

    assert said(None, None, None) == "not compared with the networks ranked"
    assert said(Verdict.BETTER, None, None) == (
        "every network compared is better; not compared: points 1, 2"
    )
    assert said(Verdict.WORSE, None, Verdict.BETTER) == (
        "not shown to be better: point 0; not compared: point 1"
    )


def test_without_a_value_to_rank_by_csv_is_empty_and_says_so_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every point diverged, or none is finished."""
    launch_result.ranking(replace(answer(), rows=[]), Form(csv=True))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no point has a value to rank by yet" in " ".join(shown.err.split())


def test_a_ranking_names_its_protocol_and_split(capsys: pytest.CaptureFixture[str]) -> None:
    launch_result.ranking(answer())
    assert "study toy-grid: rmse by protocol full, val split" in capsys.readouterr().out
    launch_result.ranking(answer(protocol=None))  # an objective of one's own has none
    assert capsys.readouterr().out.startswith("study toy-grid: rmse\n")


def test_the_end_of_a_launch_is_a_ranking_and_commands_that_can_be_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = Launched(answer(), {}, 1.0, 0, Path("/h"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["/x/weightsearch/__main__.py", "launch"])
    launch_result.launched(launched)
    said = capsys.readouterr().out
    assert "by protocol full, val split" in said
    assert said.endswith("; margin 1 %, 60 s of device time.\n")
    assert f"  {sys.executable} -P -m weightsearch best toy-grid\n" in said
    monkeypatch.setattr(sys, "argv", ["/x/.venv/bin/weightsearch", "launch"])
    launch_result.launched(launched)
    assert "  /x/.venv/bin/weightsearch best toy-grid\n" in capsys.readouterr().out


def test_nothing_is_cut_or_broken_in_two(capsys: pytest.CaptureFixture[str]) -> None:
    launch_result.ranking(answer())
    assert LONG in capsys.readouterr().out
    folder = Path("/home") / ("deep/" * 40)
    study_status.trained({"out": str(folder)})
    assert capsys.readouterr().out == f"metrics.json lies in {folder}\n"


def test_a_checkpoint_that_does_not_exist_is_not_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def said(checkpoint: str | None, host: str | None) -> str:
        launch_result.promoted(promotion(checkpoint=checkpoint, host=host))
        return capsys.readouterr().out.splitlines()[-1]

    here, gone = str(tmp_path), str(tmp_path / "gone")
    assert said(here, platform.node()) == f"checkpoint {here}"
    assert said(gone, platform.node()) == "without a checkpoint: there is none on this machine"
    assert said(gone, None) == "without a checkpoint: there is none on this machine"
    assert said(gone, "gpu7") == f"checkpoint {gone} on gpu7"
    assert said(None, "gpu7") == "without a checkpoint: the objective keeps none"
    for name, what in (("metrics.json", "metrics.json lies"), ("best", "checkpoints and metrics")):
        (tmp_path / name).touch()
        study_status.trained({"out": here})
        assert capsys.readouterr().out.startswith(what)


def test_failures_are_followed_by_the_last_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = {
        "rung": 0, "number": 3, "attempt": 1, "outcome": "failed", "seconds": None, "worker": "w",
        "reason": "KeyError: 'x'", "state": "failed",
        "key": '{"weights": {"mae": "1"}, "params": {}}',
    }  # fmt: skip
    found = {"study": "toy", "attempts": [row]}
    study_status.failures(found, tmp_path / "absent")
    line = "point 3 (1 mae) attempt 1 failed on w: KeyError: 'x' (now failed)\n"
    assert capsys.readouterr().out == line
    shown = [own_traceback.shown(f"{n}\n\n{n}") for n in (1, 2)]
    log = "".join(f"a point failed, {text}\nmore\n" for text in shown)
    (tmp_path / "worker-1.log").write_text(log)
    (tmp_path / "worker-2.log").write_text("point 3 done\n")
    study_status.failures(found, tmp_path)
    said = f"the last traceback (all: {tmp_path}), in the objective:\n  2\n  \n  2\n"
    assert capsys.readouterr().out == line + said


def test_frames_without_depth_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"pack": "/p.h5", "frames": 2, "digest": "0" * 64}
    data_sets.packed(facts | {"skipped": ["a/1", "a/2"]})
    assert "skipped, having no valid depth: 2 frames, first a/1" in capsys.readouterr().out
    data_sets.packed(facts | {"skipped": []})
    assert "skipped" not in capsys.readouterr().out


def test_a_line_about_a_run_names_the_protocol() -> None:
    summary = Summary({"rmse": 0.5}, {}, [], 3)
    spec = loading.load(loading.study_file("paper-grid"))
    assert study_status.epoch("epoch", summary, spec) == "epoch  rmse 0.5000  protocol full"
    assert study_status.epoch("test", summary, spec) == "test  rmse 0.5000  protocol bts"
    assert study_status.epoch("epoch", summary, make_spec()) == "epoch  rmse 0.5000"


def test_a_verdict_speaks_of_a_test_split_only_where_there_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    launch_result.promoted(promotion())
    said = capsys.readouterr().out
    assert "rmse, means over 2 fresh seeds\n" in said
    assert "test" not in said
    tested = finalist(test={"rmse": 0.6}, test_images=9, test_interval=[0.5, 0.7])
    launch_result.promoted(promotion(finalists=[tested], protocol="bts"))
    said = " ".join(capsys.readouterr().out.split())
    assert "fresh seeds; test split of 9 images; protocol bts; 95 % test: the interval" in said
    assert "0.500..0.700" in said


def test_nothing_is_left_of_what_is_done() -> None:
    now = Standing(
        finished=3, total=3, failed=0, best="rmse 0.5", seconds_a_point=2.0, seconds_left=0.0
    )
    for standing, left in ((now, False), (replace(now, finished=1, seconds_left=4.0), True)):
        shown = Console(file=io.StringIO(), width=80)
        shown.print(_panel("search", standing))
        text = shown.file.getvalue()  # type: ignore[attr-defined]
        assert ("left" in text) == left
        assert "best rmse 0.5" in text

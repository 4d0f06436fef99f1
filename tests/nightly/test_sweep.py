"""A night from its study file to its exit code: planted faults, late starts, baselines, history."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from support import fork_server
from support import nightly_sweeps as nightly_factory
from support.command_runs import Run, run_all
from support.nights import Night, accept, night
from support.specs import make_spec

from weightsearch.errors import ConfigError, StudyError
from weightsearch.nightly import sweep, verdict_page, verdict_text
from weightsearch.nightly import verdict as nightly
from weightsearch.stats.night_values import Moved, NightValues
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import nights, studies, study_control, verification
from weightsearch.store.ledger.stored_night import NightVerdict, NightWord
from weightsearch.store.tables import schema
from weightsearch.store.tables.states import StudyState
from weightsearch.study import loading, planning

__all__ = ["night"]


def worse(verdict: NightVerdict) -> set[tuple[str | None, str]]:
    return {(row.canary, row.metric) for row in verdict.rows if row.moved == Moved.WORSE}


def test_planted_faults_raise_and_name_the_metric_and_nothing_else_does(
    night: Night, opened: Database
) -> None:
    first = night("first")
    assert first.verdict == "not judged"
    assert f"nightly accept ours --night {first.night} --why" in first.answer
    assert re.search(
        r"\| equal \| rmse \| 0\.\d{4} \| 0\.\d{4} \| 8 of 8 \|", verdict_text.markdown(first)
    )
    assert "sd of the seeds" in verdict_page.document(first, [first])
    accept(opened)
    assert night("first").verdict == "ok"
    again = night("again")
    assert again.verdict == "ok"
    assert {row.difference for row in again.rows} == {0.0}  # the same code, the same values
    for fault in ("sign", "loader", "lr"):
        found = night(fault, fault)
        assert found.verdict == "regression"
        assert ("equal", "rmse") in worse(found)
        assert "rmse of canary equal" in found.answer
        assert "it is the code, the data or the machine" in found.answer
        assert found.rows[0].scenes[0][1] > 0
        assert f"Regression: ours, {found.night}" in verdict_text.markdown(found)
    assert night("nan", "nan").rows[0].tonight is None
    assert worse(night("nan", "nan")) >= {("equal", "rmse"), ("fit", "rmse")}


def test_the_search_is_told_apart_from_the_code(
    night: Night, opened: Database, tmp_path: Path
) -> None:
    night("first")
    accept(opened)
    with opened.engine.begin() as connection:  # as if the baseline's search had found less
        connection.execute(
            text("UPDATE ws_baselines SET measured = jsonb_set(measured, '{best,value}', '9')")
        )
    better = night("better")
    assert (better.verdict, better.moved) == ("ok", "search")
    assert "Better: rmse of the best of the search" in better.answer
    with opened.engine.begin() as connection:
        connection.execute(
            text("UPDATE ws_baselines SET measured = jsonb_set(measured, '{best,value}', '-9')")
        )
    found = night("worse")
    assert (found.verdict, found.moved) == ("regression", "search")
    assert "No canary got worse, so it is the search that changed" in found.answer
    (tmp_path / "more").mkdir()
    more = nightly_factory.sweep(tmp_path / "more", trials="trials = 2")
    other = night("other-search", file=more)
    assert other.verdict == "ok"
    assert "its best is not compared" in other.notes[0]


def test_a_night_cut_short_is_not_judged_and_goes_on(night: Night, opened: Database) -> None:
    night("first")
    accept(opened)

    def stop() -> None:
        study = studies.find(opened.engine, f"{name}-canaries")
        study_control.set_state(opened.engine, study, StudyState.STOPPED, "enough")

    name = "ours-2026-11-25-short"
    cut = night("short", date="2026-11-25", before=stop)
    assert cut.verdict == "not judged"
    assert "canary equal has 0 of 8 seeds done" in cut.answer
    assert "was stopped with 16 points left (enough)" in cut.answer
    assert sweep.EXIT[cut.verdict] == 4

    def interrupt() -> None:
        raise KeyboardInterrupt

    again = night("short", date="2026-11-25", before=interrupt)
    assert "it was interrupted, and the same command goes on" in again.answer
    whole = night("short", date="2026-11-25")
    assert (whole.verdict, whole.night) == ("ok", "2026-11-25-short")
    for part in ("canaries", "search"):
        assert verification.verify(opened.engine, studies.find(opened.engine, f"{name}-{part}")).ok
    broken = night("broken", "crash")
    assert broken.verdict == "not judged"
    assert "planted" in broken.answer


def test_a_late_start_goes_on_with_the_night_that_began_before_midnight(opened: Database) -> None:
    engine = opened.engine

    def judged(word: NightWord) -> NightVerdict:
        return NightVerdict(
            sweep="s", night="2026-11-24-abc", commit="abc", began_at="", verdict=word, level=0.98
        )

    begun = nights.begin(engine, "s", "2026-11-24", "abc", "d")
    assert nights.begin(engine, "s", None, "abc", "d").id == begun.id
    assert nights.begin(engine, "s", None, "other", "d").id != begun.id
    assert nights.begin(engine, "t", None, "abc", "d").id != begun.id
    nights.judge(engine, begun, judged(NightWord.NOT_JUDGED), final=False)
    assert nights.begin(engine, "s", None, "abc", "d").id == begun.id
    nights.judge(engine, begun, judged(NightWord.OK), final=True)
    nights.judge(engine, begun, judged(NightWord.REGRESSION), final=True)
    today = nights.begin(engine, "s", None, "abc", "d")
    assert today.id != begun.id
    (stored,) = [n.verdict for n in nights.history(engine, "s") if n.night == "2026-11-24-abc"]
    assert stored is not None
    assert stored.verdict == NightWord.OK
    with engine.begin() as connection:
        connection.execute(text("UPDATE ws_nights SET began_at = now() - interval '1 day'"))
    with pytest.raises(StudyError, match="was begun with other settings"):
        nights.begin(engine, "s", "2026-11-24", "abc", "e")
    assert nights.newest(engine, None) == "s"  # today's night was begun after that of t
    assert nights.newest(engine, "t") == "t"
    with pytest.raises(StudyError, match="unknown sweep 'never'"):
        nights.newest(engine, "never")


def test_baselines_are_added_with_who_when_why_and_from_what(
    night: Night, opened: Database
) -> None:
    with pytest.raises(StudyError, match="there was no night yet"):
        accept(opened)
    night("first")
    assert accept(opened, "first").made.previous is None
    night("second", "loader")
    with pytest.raises(StudyError, match=r"not be worse .* rmse of canary equal .* add --force"):
        accept(opened, "deeper | on *purpose*")
    made = accept(opened, "deeper | on *purpose*", force=True)
    assert made.before is not None
    assert made.before.why == "first"
    assert "rmse of canary equal" in made.worse[0]
    assert night("third", "loader").verdict == "ok"
    again = sweep.accept(opened.engine, "ours", made.made.night, "me", "x")  # as good as itself
    assert again.worse == []
    assert night("fourth").moved == "code"  # the fault is gone, and that is better
    told = sweep.history(opened.engine, "ours")
    verdicts = [(verdict.commit, verdict.verdict) for verdict in told.verdicts()]
    assert verdicts == [("fourth", "ok"), ("third", "ok"), ("second", "regression"),
                        ("first", "not judged")]  # fmt: skip
    assert [(b.accepted_by, b.previous) for b in told.baselines] == [
        ("me", made.made.id),
        ("me", told.baselines[2].id),
        ("me", None),
    ]
    shown = verdict_page.document(told.verdicts()[1], told.verdicts())
    assert "RMSE of canary equal, mean over seeds" in shown
    assert "deeper | on *purpose*" in shown
    page = verdict_text.markdown(told.verdicts()[1])
    assert r"deeper \| on \*purpose\*" in page
    with pytest.raises(StudyError, match=r"but got 'never'; the newest is .*-fourth"):
        sweep.accept(opened.engine, "ours", "never", "me", "x")
    night("broken", "nan")
    with pytest.raises(StudyError, match="has none with seed 2"):
        accept(opened)


def test_a_baseline_of_other_canaries_judges_nothing(
    night: Night, opened: Database, tmp_path: Path
) -> None:
    night("first")
    accept(opened)
    (tmp_path / "longer").mkdir()
    longer = nightly_factory.sweep(tmp_path / "longer", train="train = { epochs = 2 }")
    found = night("other", file=longer)
    assert found.verdict == "not judged"
    assert "was accepted for other canaries, settings or data" in found.answer


FIT = '    { name = "fit",'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds", "seeds = [1, 2]", "nightly.seeds: "),
        ("seeds", "seeds = [1, 1, 2]", "`seeds` must be distinct"),
        (FIT, '{ name = "equal", weights = { fit = 1 } },', "names of their own"),
        (FIT, '{ name = "b", weights = { fitt = 1 } },', "did you mean 'fit'?"),
        (FIT, '{ name = "b", weights = { fit = 0 } },', "must be above 0"),
        (FIT, '{ name = "b", weights = "equal", params = { size = "one" } },',
         "'equal' and 'b' are one"),
        (FIT, '{ name = "b", weights = "equal" },', "must say which size"),
        (FIT, '{ name = "b", weights = "equal", params = { size = "six" } },',
         "size must be one of the study's"),
        (FIT, '{ name = "b", weights = "equal", params = { sise = "one" } },',
         "did you mean 'size'?"),
    ],
)  # fmt: skip
def test_canaries_that_cannot_be_run_are_refused(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    file = nightly_factory.sweep(tmp_path)
    lines = file.read_text().splitlines()
    assert any(line.startswith(old) for line in lines)
    file.write_text("\n".join(new if line.startswith(old) else line for line in lines))
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        planning.canaries(loading.load(file))


def test_the_table_nightly_is_no_part_of_a_launched_study(tmp_path: Path) -> None:
    file = nightly_factory.sweep(tmp_path)
    without = tmp_path / "without.toml"
    without.write_text(file.read_text().split("[nightly]")[0])
    assert loading.load(file).digest() == loading.load(without).digest()


def test_canaries_have_fixed_weights_and_the_search_has_the_learned_ones_too() -> None:
    canaries = {"seeds": [1, 2, 3], "trials": 2, "canaries": [{"name": "a", "weights": "equal"}]}
    loss = {"weights": {"grid": "simplex", "steps": 3}, "weightings": ["cov"]}
    spec = make_spec(loss=loss, nightly=canaries)
    night = nightly.canary_study(spec)
    assert [p.weighting for p in planning.canaries(night).points if p] == [None] * 3
    assert (
        night.digest()
        == nightly.canary_study(
            make_spec(loss=loss | {"weightings": []}, nightly=canaries)
        ).digest()
    )
    searched = nightly.search_study(spec)
    assert searched is not None
    assert [p.weighting for p in planning.plan(searched).points if p] == ["cov", None, None]


def test_no_night_shares_the_start_of_its_runs() -> None:
    canaries = {"seeds": [1, 2, 3], "trials": 2, "canaries": [{"name": "a", "weights": "equal"}]}
    loss = {"weights": {"grid": "simplex", "steps": 3}}
    spec = make_spec(loss=loss, nightly=canaries, share={"kind": "frozen"})
    searched = nightly.search_study(spec)
    assert searched is not None
    assert {searched.share.kind, nightly.canary_study(spec).share.kind} == {"none"}
    assert len(planning.plan(searched).points) == 2  # fewer than a pilot has


def test_tables_of_the_second_version_are_upgraded(opened: Database) -> None:
    with opened.engine.begin() as connection:
        new = _columns(connection)
        connection.execute(text("DROP TABLE ws_baselines, ws_nights"))
        connection.execute(text("ALTER TABLE ws_studies DROP history, DROP looks"))
        columns = "DROP place, DROP repeat, DROP fold, DROP stage"
        connection.execute(text(f"ALTER TABLE ws_points {columns}"))
        connection.execute(text("UPDATE ws_meta SET version = 2"))
    schema.prepare(opened.engine)
    with opened.engine.begin() as connection:
        assert _columns(connection) == new
    begun = nights.begin(opened.engine, "s", None, "abc", "d")
    assert nights.accept(opened.engine, begun, "d", NightValues(), "me", "x").night == begun.night


def _columns(connection: Any) -> list[Any]:
    asked = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_name IN ('ws_nights', 'ws_baselines')"
        " UNION SELECT conname, pg_get_constraintdef(oid), '', '', '' FROM pg_constraint"
        " WHERE conrelid::regclass::text IN ('ws_nights', 'ws_baselines')"
        " UNION SELECT indexname, indexdef, '', '', '' FROM pg_indexes"
        " WHERE tablename IN ('ws_nights', 'ws_baselines') ORDER BY 1, 2"
    )
    return [tuple(row) for row in connection.execute(text(asked))]


def test_a_night_started_twice_at_once_does_the_work_once_and_exits_as_it_should(
    storage: str, opened: Database, tmp_path: Path
) -> None:
    file = nightly_factory.sweep(tmp_path, trials="trials = 0")
    command = ["nightly", str(file), "--commit", "abc", "--device", "cpu", "--quiet", "--json"]
    environment = {"WEIGHTSEARCH_STORAGE": storage, "GITHUB_ACTOR": "somebody"}
    both = [
        fork_server.Forked(
            [sys.executable, "-m", "weightsearch", *command],
            env=os.environ | environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [4, 4], said
    (night,) = {json.loads(out)["night"] for out, _ in said}
    study = studies.find(opened.engine, f"ours-{night}-canaries")
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.points, found.starts) == (True, 16, 16)
    summary = tmp_path / "summary.md"
    (tmp_path / "fault").write_text("sign")
    command[3] = "def"
    accepted, raised, told = run_all(
        [
            Run(["nightly", "accept", "--night", night, "--why", "x", "--json"], environment),
            Run(command, environment | {"GITHUB_STEP_SUMMARY": str(summary)}),
            Run(["nightly", "history", "ours"], environment),
        ],
        tmp_path,
        240,
    )
    assert json.loads(accepted.out)["accepted_by"] == "somebody"
    assert raised.code == 3, raised.err
    assert json.loads(raised.out)["verdict"] == "regression"
    assert "| equal | rmse |" in summary.read_text()
    assert "regression" in told.out
    assert "accepted by somebody: x" in told.out

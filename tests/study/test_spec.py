"""Study files: what they may say, and how they are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.specs import make_spec

from weightsearch.errors import ConfigError
from weightsearch.runtime.home import home_folder
from weightsearch.study import known_names, loading, planning, weight_presets

DEPTH: dict[str, Any] = {
    "goal": "test",
    "data": {"source": "synthetic", "size": [64, 96]},
    "model": {"encoder": "densenet121"},
    "loss": {"weights": {"mae": 1, "edge": 1, "ssim": 1}},
}


def refused(**tables: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        loading.parse(DEPTH | tables, "file.toml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("file.toml: ")
    return message


def test_a_path_and_a_budget_in_the_file_are_no_part_of_the_study(tmp_path: Path) -> None:
    text = """goal = "test"
data = { source = "folder", size = [64, 64]PATH }
model = { encoder = "densenet121" }
loss = { weights = { mae = 1 } }
"""
    plain, placed = tmp_path / "plain.toml", tmp_path / "placed.toml"
    plain.write_text(text.replace("PATH", ""))
    placed.write_text('budget = "2h"\n' + text.replace("PATH", ', path = "../my frames"'))
    spec = loading.load(placed)
    assert spec.digest() == loading.load(plain).digest()
    assert spec.resolved() == loading.load(plain).resolved()
    assert spec.budget == ("2h",)
    own = tmp_path / "../my frames"  # as seen from the file
    assert loading.data_path(spec, None) == own
    assert loading.data_path(spec, tmp_path) == tmp_path
    placed.write_text(text.replace("PATH", f', path = "{tmp_path}"'))
    assert loading.data_path(loading.load(placed), None) == tmp_path


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda f: f.stem)
def test_every_study_that_is_shipped_can_be_planned(file: Path) -> None:
    spec = loading.load(file)
    assert planning.plan(spec).points
    assert loading.study_file(file.stem).name == file.name
    again = loading.parse(spec.resolved(), "resolved")
    assert again.digest() == spec.digest()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"trian": {}}, "trian: unknown key; did you mean 'train'?"),
        ({"train": {"epoch": 3}}, "train.epoch: unknown key; did you mean 'epochs'?"),
        ({"train": {"epochs": 0}}, "train.epochs: must be at least 1, but got 0."),
        ({"train": {"lr": -1}}, "train.lr: must be above 0, but got -1."),
        ({"train": {"lr": []}}, "train.lr: must have at least 1 value, but got []."),
        ({"train": {"lr": ["a"]}}, "train.lr.0: must be a number, but got 'a'."),
        ({"loss": {"terms": "mae"}}, 'loss.terms: must be a list such as ["mae"], but got'),
        ({"promote": {"devices": "x"}}, "devices: must be a whole number or 'auto', but got 'x'."),
        ({"sampler": "grid"}, "sampler: must be a table, but got 'grid'."),
        ({"data": {"source": "synthetic", "size": 128}}, "[height, width] in pixels, each at"),
        ({"data": {"source": "synthetic", "size": [33, 31]}}, "least 32, but got [33, 31]."),
        ({"sampler": {"kind": "gird"}}, "unknown sampler 'gird'; did you mean 'grid'?"),
        ({"evaluate": {"protocol": "btss"}}, "unknown protocol 'btss'; did you mean 'bts'?"),
        ({"promote": {"seeds": [0, 1]}}, "promote.seeds must be fresh"),
        ({"budget": "2 hours"}, "a budget must be like 2h"),
        ({"objective": "mynet:run"}, 'write `[objective]` with `run = "mynet:run"`.'),
        ({"objective": "loss"}, "the weighted loss cannot rank points"),
        ({"model": {"encoder": "x", "decoder": "densdepth"}}, "did you mean 'densedepth'?"),
        ({"data": {"source": "nyu_cvs", "size": [64, 64]}}, "did you mean 'nyu_csv'?"),
        ({"data": {"source": "synthetic", "size": [64, 64], "val": "frames:10%"}}, "'blocks:P%'"),
        ({"loss": {"weights": {"grid": "cubic", "levels": [1]}}}, "did you mean 'cube'?"),
        ({"loss": {"weights": {"grid": "cube", "levels": [0]}}}, "at least one level"),
        ({"loss": {"weights": {"mea": 1}}}, "unknown term 'mea'; did you mean 'mae'?"),
        ({"loss": {"weights": {"mae": 0, "edge": 0}}}, "at least one weight must be above 0"),
        ({"loss": {"terms": ["mae", "edgy"], "weights": {"mae": 1}}}, "unknown loss term 'edgy'"),
        ({"sampler": {"kind": "tpe", "trials": 3}}, "sampler 'tpe' chooses the weights itself"),
        (
            {"loss": {"weights": {"grid": "simplex", "steps": 2}}, "sampler": {"kind": "random"}},
            "needs a number of trials",
        ),
        ({"data": None}, "the table [data] is missing"),
        ({"promote": {"seeds": []}}, "promote.seeds"),
        ({"promote": {"seeds": [1, 1]}}, "`seeds` must be distinct"),
        ({"promote": {"seeds": [1], "top": 2}}, "at least two where finalists are to be compared"),
        (
            {"sampler": {"kind": "cmaes", "trials": 3, "draw": "levels"}},
            "sampler 'cmaes' chooses the weights itself",
        ),
        ({"sampler": {"zero": 1}}, "sampler.zero"),
        ({"sampler": {"zero": 0.5}}, "sampler.zero is of draws from the whole simplex, but these"),
        ({"sampler": {"kind": "random", "zero": 0}}, "have the weights of [loss]; leave it out."),
        (
            {
                "loss": {"terms": ["mae"], "weights": {"grid": "simplex", "steps": 1}},
                "sampler": {"kind": "mixture", "trials": 3},
            },
            "sampler 'mixture' needs 2 to 8 terms, but got 1",
        ),
        ({"sampler": {"seed": -1}}, "sampler.seed"),
        ({"model": {"encoder": []}}, "model.encoder"),
        ({"params": {"mae": 1}}, "must not be named as a loss term"),
        ({"sampler": "grid"}, "sampler"),
        ({"answer": {"margin": "0 %"}}, "answer.margin: must be above 0, in per cent of the best"),
        ({"answer": {"margin": -0.1}}, "but got -0.1."),
        ({"answer": {"margin": [1]}}, "answer.margin: must be above 0"),
        ({"answer": {"marign": "1 %"}}, "did you mean 'margin'?"),
        (
            {"answer": {"margin": "0.01 m"}, "objective": "rel"},
            "answer.margin must have the unit of 'rel', which has none, but got '0.01 m'",
        ),
        ({"loss": {"weights": {"mae": -1}}}, "weights: the weight of 'mae' must be a number of at"),
        ({"loss": {"weights": [{"mae": "1"}]}}, "the weight of 'mae' must be a number of at least"),
        (
            {"loss": {"weights": "papre"}},
            "loss.weights: unknown weights 'papre'; did you mean 'paper'",
        ),
        (
            {"loss": {"weights": "keras"}, "data": DEPTH["data"] | {"target": "log"}},
            "weights 'keras' need the terms mae, smoothness, ssim, but `terms` lacks smoothness;",
        ),
        (
            {"loss": {"weights": [{"mae": 1}, "densedepth"]}},
            "weights 'densedepth' belong to data.target 'inverse', but it is 'depth'; set it,"
            " or write { mae = 0.1, edge = 1, ssim = 1 }",
        ),
        ({"loss": {"terms": ["mae"], "weights": [{"mae": 1}, "paper"]}}, "lacks edge, ssim"),
        ({"loss": {"weights": 3}}, "loss.weights: must be a grid, or one or several tables"),
        (
            {"train": {"lr": "fast"}},
            "train.lr: must be a number, a list or a table, but got 'fast'.",
        ),
        (
            {"data": {"source": "synthetic", "size": [64, 64], "min_depth_m": 5, "max_depth_m": 2}},
            "data: `min_depth_m` must be below `max_depth_m`, but got 5 and 2",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(tables: dict[str, Any], said: str) -> None:
    assert said in refused(**tables)


@pytest.mark.parametrize("name", weight_presets.PRESETS)
@pytest.mark.parametrize("target", ["depth", "inverse", "log"])
def test_weights_by_name_are_of_the_target_that_they_were_chosen_for(
    name: str, target: str
) -> None:
    table = weight_presets.PRESETS[name]
    data = DEPTH["data"] | {"target": target}
    named = {"data": data, "loss": {"terms": list(table), "weights": name}}
    if weight_presets.TARGETS.get(name, target) == target:
        found = loading.parse(DEPTH | named, "file.toml")
        assert found.resolved()["loss"]["weights"] == table
    else:
        assert f"weights '{name}' belong to data.target" in refused(**named)


def test_how_many_devices_train_a_full_run_is_no_part_of_a_study() -> None:
    digests = {
        loading.parse(DEPTH | {"promote": {"devices": devices}}, "test").digest()
        for devices in (1, 2, "auto")
    }
    assert digests == {loading.parse(DEPTH, "test").digest()}
    for wrong in (0, "all"):
        with pytest.raises(ConfigError, match=r"promote\.devices"):
            loading.parse(DEPTH | {"promote": {"devices": wrong}}, "test")


def revised(data: dict[str, Any] | None = None, *terms: str, **tables: Any) -> bool:
    """Whether a study has another digest than it had before its loss was revised."""
    loss = {"terms": terms, "weights": "equal"}
    spec = loading.parse(
        DEPTH | {"data": DEPTH["data"] | (data or {}), "loss": loss} | tables, "test"
    )
    left_out = ("goal", "answer", "keep", "retry", "track", "nightly")
    kept = {k: v for k, v in spec.resolved().items() if k not in left_out}
    later = ("weightings", "warm_up")  # keys of [loss] that there were none of
    kept["loss"] = {k: v for k, v in kept["loss"].items() if k not in later}
    del kept["sampler"]["zero"], kept["pruner"], kept["share"]  # older than those, too
    del kept["promote"]["devices"]
    kept["train"] = spec.train.identity()
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return spec.digest(promotion=True) != hashlib.sha256(text.encode()).hexdigest()[:12]


def test_a_study_whose_loss_was_revised_is_not_the_old_one() -> None:
    real = {"source": "kitti_eigen"}
    outdoors: dict[str, Any] = {"max_depth_m": 80.0, "target": "inverse"}
    assert not revised(None, "mae", "edge", "ssim")  # synthetic rooms: whole windows
    assert not revised(real | {"target": "log"}, "mae", "edge", "silog")
    assert not revised(outdoors, "mae", "edge")
    assert not revised(real | {"target": "log"}, "smoothness")
    assert revised(real, "ssim")
    assert revised({"options": {"holes": 0.1}}, "ssim")
    assert revised({"max_depth_m": 3.0}, "ssim")  # what is beyond is a hole
    assert revised({"target": "log"}, "ssim")
    assert revised(outdoors, "ssim")
    assert revised(None, "smoothness")
    own = {"run": "weightsearch.study.trivial_objective:run"}
    assert not revised(real, "ssim", objective=own)


def test_weights_that_go_by_a_name_are_kept_as_their_tables() -> None:
    terms = ["mae", "edge", "ssim", "smoothness"]
    named = {"terms": terms, "weights": ["paper", {"mae": 2}, "equal"]}
    found = loading.parse(DEPTH | {"loss": named}, "file.toml")
    tables = [
        {"mae": 0.6, "edge": 0.2, "ssim": 1},
        {"mae": 2},
        {"mae": 1, "edge": 1, "ssim": 1, "smoothness": 1},
    ]
    assert found.resolved()["loss"]["weights"] == tables
    written = {"terms": terms, "weights": tables}
    assert found.digest() == loading.parse(DEPTH | {"loss": written}, "file.toml").digest()
    assert len(planning.plan(found).points) == 3
    one = loading.parse(DEPTH | {"loss": {"weights": "paper"}}, "file.toml")
    assert one.loss.weights == tables[0]


def test_the_study_of_decoders_tries_each_with_each_encoder() -> None:
    points = planning.plan(loading.load(loading.study_file("decoders"))).points
    tried = {(p.params["encoder"], p.params["decoder"]) for p in points if p is not None}
    assert len(points) == len(tried) == 2 * len(known_names.NAMES["decoder"])


def test_the_study_of_terms_tries_each_alone_in_pairs_and_in_threes() -> None:
    points = planning.plan(loading.load(loading.study_file("terms"))).points
    used = {frozenset(t for t, w in p.weights.items() if w) for p in points if p is not None}
    assert len(points) == 35
    assert len(used) == 5 + 10 + 10  # each alone, each pair, each three


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("goal = ")
    with pytest.raises(ConfigError, match="must be TOML, but"):
        loading.load(file)
    with pytest.raises(ConfigError, match="must exist, but"):
        loading.study_file(str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigError, match="unknown study 'quickstrat'; did you mean 'quickstart'"):
        loading.study_file("quickstrat")


def test_overrides_are_part_of_the_identity(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        'goal = "x"\n[objective]\nrun = "weightsearch.study.trivial_objective:run"\n'
        '[loss]\nweights = { grid = "simplex", steps = 2 }\n'
    )
    plain = loading.load(file, {"sampler.trials": None})
    fewer = loading.load(file, {"sampler.trials": 3})
    assert plain.digest() == loading.load(file).digest()
    assert plain.digest() != fewer.digest()
    assert fewer.sampler.trials == 3


def test_an_override_of_what_is_no_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('goal = "x"\nsampler = "grid"\n')
    with pytest.raises(ConfigError, match="sampler: must be a table, but got 'grid'"):
        loading.load(file, {"sampler.trials": 3})


def test_a_folder_does_not_hide_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ablation").mkdir()
    monkeypatch.chdir(tmp_path)
    assert loading.study_file("ablation").name == "ablation.toml"


def test_neither_the_goals_wording_nor_the_margin_is_part_of_the_identity() -> None:
    assert make_spec(goal="a").digest() == make_spec(goal="b").digest()
    drawn = {"kind": "random", "trials": 4}
    zeros = [make_spec(sampler=drawn | {"zero": z}).digest() for z in (1 / 8, 1 / 4)]
    assert make_spec(sampler=drawn).digest() == zeros[0] != zeros[1]
    assert make_spec(answer={"margin": 0.02}).digest() == make_spec().digest()
    assert make_spec(keep={"full": "all"}).digest() == make_spec().digest()
    more = make_spec(promote={"top": 9})
    assert more.digest() == make_spec().digest()
    assert more.digest(promotion=True) != make_spec().digest(promotion=True)


def test_a_margin_is_one_per_cent_unless_the_study_states_another() -> None:
    assert str(make_spec().answer.delta()) == "1 %"
    assert make_spec(answer={"margin": "0.02 m"}).answer.delta().of(3.0) == 0.02


def test_an_objective_may_be_named_by_its_metric_alone() -> None:
    assert loading.parse(DEPTH | {"objective": "abs_rel"}, "x").objective.metric == "abs_rel"


def test_the_names_that_studies_use_are_those_of_the_code() -> None:
    from weightsearch.data.readers.registry import READERS
    from weightsearch.depth.evaluation.protocols import PROTOCOLS
    from weightsearch.depth.loss.terms import LOSS_TERMS
    from weightsearch.depth.loss.weightings import WEIGHTINGS
    from weightsearch.depth.network.decoders import DECODERS
    from weightsearch.study.samplers import SAMPLERS

    real = {
        "reader": READERS,
        "decoder": DECODERS,
        "loss term": LOSS_TERMS,
        "weighting": WEIGHTINGS,
        "protocol": PROTOCOLS,
        "sampler": SAMPLERS,
    }
    assert {kind: set(known) for kind, known in known_names.NAMES.items()} == {
        kind: set(code) for kind, code in real.items()
    }


def test_home_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEIGHTSEARCH_HOME", str(tmp_path))
    assert home_folder() == tmp_path
    monkeypatch.delenv("WEIGHTSEARCH_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert home_folder() == Path("/var/lib/weightsearch")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home_folder() == tmp_path / "data" / "weightsearch"

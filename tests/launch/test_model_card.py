"""The model card: what it says, in which order, and that nothing in it is markup of somebody else.

That a promotion writes it: tests/test_json_golden.py and tests/launch/test_promotion.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from support.depth_studies import depth_spec
from support.specs import make_spec
from support.verdicts import finalist, promotion

from weightsearch.launch import model_card
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.study.spec import StudySpec

HEADINGS = [
    "Model Details",
    "Uses",
    "Bias, Risks, and Limitations",
    "How to Get Started with the Model",
    "Training Details",
    "Evaluation",
    "Technical Specifications",
    "More Information",
]
"""In the order of Hugging Face's template."""
EVIL = (
    "<script>alert(1)</script> [x](javascript:1) `a` | **b** \n## Heading http://evil @me \x1b[2J"
)


def verdict(**changes: Any) -> PromotionVerdict:
    row = finalist(
        params={"encoder": "densenet121"},
        weights={"mae": 0.6, "edge": 0.0, "ssim": 1.0},
        validation={"rmse": 1.25},
        validation_images=165,
        validation_interval=[1.0, 1.5],
        parameters=19.0e6,
        test={"rmse": 0.95, "rel": 0.3},
        test_images=327,
        test_interval=[0.8, 1.1],
    )
    made = promotion(
        params=row.params,
        weights=row.weights,
        protocol="bts",
        finalists=[replace(row, point="other", validation={"rmse": 9.9}), row],
    )
    lineage = replace(made.lineage, data_digest="d2", commit="c0ffee", versions={"torch": "2.15.0"})
    return replace(made, lineage=lineage, **changes)


FACTS = {
    "epoch": 5,
    "frames": {"train": 630, "val": 165, "test": 327},
    "ground_truth": "filled",
    "encoder_weights": {
        "name": "densenet121.ra_in1k",
        "license": "apache-2.0",
        "hub": "timm/densenet121.ra_in1k",
    },
}

LITE = {
    "name": "lite0.pth",
    "license": "apache-2.0",
    "hub": None,
    "file": None,
    "sha256": "c0ffee",
    "package": "lite0-model 0.1.0",
}


def test_a_learned_weighting_is_the_loss() -> None:
    weights = {"mae": 0.5, "edge": 0.25, "ssim": 0.25}
    given = {"encoder": "densenet121", "weighting": "cov"}
    made = model_card.card(depth_spec(), verdict(params=given, weights=weights), FACTS)
    assert "- **loss:** cov, a learned weighting of mae, edge, ssim\n" in made
    assert "**weighting:**" not in made


def test_the_order_is_the_templates_and_every_number_has_its_protocol_and_n() -> None:
    made = model_card.card(depth_spec(), verdict(), FACTS)
    assert [line[3:] for line in made.splitlines() if line.startswith("## ")] == HEADINGS
    assert "| validation | full | 165 | rmse | 1.2500 | 1.0000 to 1.5000 |" in made
    assert "| test | bts | 327 | rmse | 0.9500 | 0.8000 to 1.1000 |" in made
    assert "| test | bts | 327 | rel | 0.3000 |  |" in made
    assert "9.9" not in made
    for fact in (
        "0.6 mae + 1 ssim",
        "630 train, 165 val, 327 test",
        "digest:** d2",
        "timm names apache-2.0 for densenet121.ra\\_in1k",
        "Trained at 48x64 pixels",
        "from 0.1 to 10 m: indoors",
        "commit:** c0ffee",
        "one of 24 searched",
        "weightsearch predict . picture.jpg --out depth/",
        "base_model: timm/densenet121.ra_in1k",
    ):
        assert fact in made, fact


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "Licence of the encoder's start: unknown."),
        ({"encoder_weights": None}, "none is needed, nothing pretrained was used."),
        (
            {"encoder_weights": {"name": "x.y", "license": None, "hub": None}},
            "timm names none for x.y; ask those who made them.",
        ),
        (
            {
                "encoder_weights": {
                    "name": "mine.safetensors",
                    "license": None,
                    "hub": None,
                    "file": "mine.safetensors",
                    "sha256": "c0ffee",
                }
            },
            "start:** pretrained, own file mine.safetensors, sha256 c0ffee",
        ),
        (
            {"encoder_weights": {**LITE, "file": "fetched.safetensors"}},
            "start:** pretrained, lite0-model 0.1.0's lite0.pth, sha256 c0ffee",
        ),
        (
            {"encoder_weights": LITE},
            "the licence file of lite0-model 0.1.0 names apache-2.0 for lite0.pth.",
        ),
        (
            {"encoder_weights": {**LITE, "package": None, "hub": "timm/x", "file": "fetched"}},
            "start:** pretrained, timm's lite0.pth",
        ),
    ],
)
def test_what_nobody_recorded_is_said_to_be_unknown(facts: dict[str, Any], said: str) -> None:
    assert said in model_card.card(depth_spec(), verdict(), facts)


@pytest.mark.parametrize("spec", [depth_spec(), make_spec()])
def test_names_from_elsewhere_are_no_markup(spec: StudySpec) -> None:
    spec = spec.model_copy(update={"goal": EVIL})
    plain = verdict()
    evil = replace(
        plain,
        params={EVIL: EVIL},
        weights={EVIL: 1.0},
        finalists=[replace(plain.finalists[1], test={"rmse": 1.0, EVIL: 2.0})],
        lineage=replace(plain.lineage, study=EVIL, commit=EVIL, versions={EVIL: EVIL}),
    )
    facts = {
        "ground_truth": EVIL,
        "epoch": EVIL,
        "frames": {EVIL: 1},
        "encoder_weights": {"name": EVIL, "license": EVIL, "hub": EVIL},
    }
    made = model_card.card(spec, evil, facts)
    head, body = made.split("\n---\n", 1)
    assert "<script" not in body
    assert "[x](" not in body
    assert "http://" not in body
    assert " @me" not in body
    assert "\x1b" not in made
    assert [line[3:] for line in made.splitlines() if line.startswith("## ")] == HEADINGS
    for line in body.splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") == 7
    known = {"library_name": "weightsearch", "license": "unknown", "metrics": [evil.metric]}
    if spec.data:
        known |= {"pipeline_tag": "depth-estimation", "datasets": [spec.data.source]}
    assert ModelCard(made).data.to_dict() == known | {"base_model": EVIL}
    assert all(line.isprintable() for line in head.splitlines())


@pytest.mark.parametrize(
    ("val", "said"),
    [("folds:5", "one of 5 folds of the training frames"), ("blocks:10%", "10% of the training")],
)
def test_it_says_in_words_what_validates(val: str, said: str) -> None:
    spec = depth_spec()
    assert spec.data is not None
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"val": val})})
    made = model_card.card(spec, verdict(), FACTS)
    assert f"- **validation:** {said}" in made
    assert val not in made


def test_it_begins_with_the_studys_headline(tmp_path: Path) -> None:
    told = "0.6 mae + 1 ssim has RMSE 1.25 m: better than <b>equal weights</b>."
    (tmp_path / "best").mkdir()
    written = model_card.write(depth_spec(), verdict(checkpoint=str(tmp_path)), told)
    assert written is not None
    title, after = written.read_text().split("\n# ")[1].split("\n\n")[:2]
    assert "[" in title
    assert (
        after == "0.6 mae + 1 ssim has RMSE 1.25 m: better than &lt;b&gt;equal weights&lt;/b&gt;."
    )


def test_a_folder_that_is_not_here_or_cannot_be_written_costs_only_the_card(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert model_card.write(make_spec(), verdict(checkpoint=str(tmp_path / "absent"))) is None
    assert "no model card was written" in caplog.text
    (tmp_path / model_card.NAME).mkdir()
    assert model_card.write(make_spec(), verdict(checkpoint=str(tmp_path))) is None
    (tmp_path / model_card.NAME).rmdir()
    (tmp_path / "best").mkdir()
    (tmp_path / "best/manifest.json").write_text(json.dumps(FACTS))
    written = model_card.write(depth_spec(), verdict(checkpoint=str(tmp_path)))
    assert written == tmp_path / "MODEL_CARD.md"
    assert written.read_text() == model_card.card(depth_spec(), verdict(), FACTS)
    (tmp_path / "best/manifest.json").write_text("damaged")
    assert model_card.write(depth_spec(), verdict(checkpoint=str(tmp_path))) == written

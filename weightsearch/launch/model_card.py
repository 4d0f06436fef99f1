"""The model card of a promoted checkpoint, in the order of Hugging Face's template.

It says what is known and nothing else: names come from study files and data sets, so everything is
escaped; what nobody recorded is said to be unknown.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.safe_text import counted, presentable
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.study.point_text import labelled, loss, named
from weightsearch.study.search_space import WEIGHTING, weighting_of
from weightsearch.study.spec import DEPTH_OBJECTIVE, StudySpec
from weightsearch.study.tables.train_spec import TrainSpec

NAME = "MODEL_CARD.md"
INDOOR_M = 10.0
"""Data that reach no farther were taken in rooms (NYU, DIODE indoor, SUN RGB-D)."""

log = logging.getLogger(__name__)


def write(spec: StudySpec, verdict: PromotionVerdict, headline: str | None = None) -> Path | None:
    """Writes `MODEL_CARD.md` beside the promoted checkpoint; `headline` is the study's.

    None where the objective keeps none, or its folder is not there (it is another machine's) or
    cannot be written: the promotion stands without it.
    """
    if not verdict.checkpoint:
        return None
    folder = Path(verdict.checkpoint)
    if not folder.is_dir():
        log.info("%s is not here, so no model card was written beside it", folder)
        return None
    try:
        write_atomically(folder / NAME, card(spec, verdict, _manifest(folder), headline).encode())
    except OSError as error:
        log.warning("%s: no model card was written (%s)", folder, error.strerror or error)
        return None
    return folder / NAME


def card(
    spec: StudySpec,
    verdict: PromotionVerdict,
    facts: Mapping[str, Any],
    headline: str | None = None,
) -> str:
    """The text. `facts` are the checkpoint's manifest, empty where the objective wrote none."""
    parts = (_details, _uses, _limits, _start, _training, _evaluation, _technical, _lineage)
    lines = [*_head(spec, verdict, facts), "", *([escaped(headline), ""] if headline else [])]
    lines += [line for part in parts for line in (*part(spec, verdict, facts), "")]
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: object) -> str:
    """Text that Markdown shows as it is, in one line: no markup, no HTML, no link, no cell."""
    plain = presentable(str(text))
    plain = re.sub(r"([\\`*_\[\]|~#$!(){}])", r"\\\1", plain)
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


Lines = Iterator[str]


def _head(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    """Metadata, as the hub reads it."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=(facts.get("encoder_weights") or {}).get("hub"),
        datasets=[spec.data.source] if spec.data else None,
        library_name="weightsearch",
        license="unknown",
        metrics=[verdict.metric],
        pipeline_tag="depth-estimation" if spec.data else None,
    )
    yield "---"
    yield from data.to_yaml().splitlines()
    yield "---"
    yield ""
    name = labelled(named(verdict.weights, verdict.params), verdict.point)
    yield f"# {escaped(verdict.lineage.study)}: {escaped(name)}"


def _details(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    yield "## Model Details"
    yield ""
    if spec.data is not None:
        yield "Depth in metres from one RGB picture."
        yield ""
    for name, value in verdict.params.items():
        if name != WEIGHTING:  # `loss` says it
            yield f"- **{escaped(name)}:** {escaped(value)}"
    if parameters := verdict.chosen().parameters:
        yield f"- **parameters:** {parameters / 1e6:.1f} million"
    weighed = loss(verdict.weights, verdict.params)
    if weighting_of(verdict.params) is not None:
        weighed += f", a learned weighting of {', '.join(verdict.weights)}"
    yield f"- **loss:** {escaped(weighed)}"
    yield f"- **encoder's start:** {_origin(spec, facts)}"
    yield "- **licence of this network:** not decided by weightsearch; see the limits below"


def _uses(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    yield "## Uses"
    yield ""
    yield f"It was trained to answer: {escaped(spec.goal)}"
    yield ""
    if spec.data is None:
        yield "Meant for samples like those that it was trained on."
        return
    yield (
        "Meant for pictures like those of the training data. Not meant where a wrong depth can hurt"
        " somebody: no number below says how wrong a single pixel can be."
    )


def _limits(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    yield "## Bias, Risks, and Limitations"
    yield ""
    data = spec.data
    if data is not None:
        height, width = data.size
        where = "indoors" if data.max_depth_m <= INDOOR_M else "outdoors"
        yield f"- Trained at {height}x{width} pixels (height x width); output at half of it."
        yield (
            f"- Trained on depth from {data.min_depth_m:g} to {data.max_depth_m:g} m: {where}."
            " Nothing is known of it elsewhere."
        )
        yield (
            "- Metres depend on the camera: another field of view than the training data's gives"
            " depth of another scale."
        )
    yield f"- Compared with the other finalists: {escaped(verdict.verdict)}."
    yield f"- Licence of the encoder's start: {_licence(spec, facts)}"
    yield f"- Terms of the data: {_terms(spec)}"


def _start(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    yield "## How to Get Started with the Model"
    yield ""
    if spec.objective.run != DEPTH_OBJECTIVE:
        yield "It is of an objective of its own, which knows how to load it."
        return
    yield "In the folder of this card:"
    yield ""
    yield "    weightsearch predict . picture.jpg --out depth/"
    yield "    weightsearch export . --to model.onnx"
    yield f"    weightsearch evaluate . --data PATH --protocol {verdict.protocol}"


def _training(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    yield "## Training Details"
    yield ""
    yield "### Training Data"
    yield ""
    data = spec.data
    if data is None:
        yield "Known to the objective alone."
    else:
        frames = facts.get("frames") or {}
        shown = ", ".join(f"{n} {escaped(split)}" for split, n in frames.items())
        options = ", ".join(f"{escaped(k)} = {escaped(v)}" for k, v in data.options.items())
        yield f"- **reader:** {escaped(data.source)}{f' ({options})' if options else ''}"
        yield f"- **digest:** {escaped(verdict.lineage.data_digest or 'unknown')}"
        yield f"- **frames:** {shown or 'unknown'}"
        yield f"- **validation:** {_validation(data.val)}"
        yield f"- **ground truth:** {escaped(facts.get('ground_truth', 'unknown'))}"
    yield ""
    yield "### Training Procedure"
    yield ""
    train, promote = spec.train, spec.promote
    if promote is not None:
        yield (
            f"- at most {counted(promote.epochs, 'epoch')}, seed {verdict.seed} of"
            f" {list(promote.seeds)}"
        )
    if "epoch" in facts:
        yield f"- this checkpoint is from epoch {escaped(facts['epoch'])}, the best on validation"
    yield f"- {train.optimizer}, batch {train.batch}, precision {train.precision}"
    yield from _manner(train)
    yield f"- augmentation: {', '.join(train.augment) or 'none'}"
    if data is not None:
        yield f"- the loss compares: {data.target}"


def _validation(val: str) -> str:
    """Of `blocks:P%` and `folds:K`, as data/frames/split.py divides them: by scenes or blocks."""
    kind, _, much = val.partition(":")
    part = f"one of {escaped(much)} folds" if kind == "folds" else escaped(much)
    return f"{part} of the training frames, whole scenes or blocks, never by frame"


def _manner(train: TrainSpec) -> Lines:
    """What differs from a constant lr for all of the network."""
    if train.schedule != "constant" or train.warm_up_share():
        yield f"- lr: {train.schedule}, rising over {train.warm_up_share():g} of the steps"
    if train.freeze == "all" or train.freeze:
        yield f"- encoder frozen for epochs: {train.freeze}"
    if train.encoder_lr != 1:
        yield f"- the encoder's lr: {train.encoder_lr:g} of the decoder's"
    if train.average != "none":
        yield f"- weights: their {train.average} of decay {train.decay:g}"


def _evaluation(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    yield "## Evaluation"
    yield ""
    metric, row = verdict.metric, verdict.chosen()
    rows = [
        (
            "validation",
            spec.evaluate.protocol if spec.data else None,
            row.validation_images,
            row.validation,
            row.validation_interval,
        )
    ]
    if row.test is not None:
        rows.append(("test", verdict.protocol, row.test_images, row.test, row.test_interval))
    yield (
        f"| split | protocol | n | metric | mean over {counted(row.seeds, 'seed')} | 95 % interval"
        " |"
    )
    yield "|---|---|---|---|---|---|"
    for split, protocol, images, metrics, bounds in rows:
        for name, value in metrics.items():
            span = f"{bounds[0]:.4f} to {bounds[1]:.4f}" if bounds and name == metric else ""
            yield (
                f"| {split} | {escaped(protocol or 'none')} | {images or 'unknown'} |"
                f" {escaped(name)} | {value:.4f} | {span} |"
            )
    yield ""
    yield (
        "Intervals are over scenes or blocks of frames, of the mean over seeds. The choice was made"
        " on validation; the test split decided nothing."
    )


def _technical(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    yield "## Technical Specifications"
    yield ""
    for part, file in (facts.get("files") or {}).items():
        yield f"- {escaped(part)}: best/{escaped(file['file'])}, sha256 {escaped(file['sha256'])}"
    for name, version in (verdict.lineage.versions or {}).items():
        yield f"- {escaped(name)} {escaped(version)}"


def _lineage(spec: StudySpec, verdict: PromotionVerdict, facts: Mapping[str, Any]) -> Lines:
    lineage = verdict.lineage
    yield "## More Information"
    yield ""
    yield f"- **study:** {escaped(lineage.study)}, digest {escaped(lineage.digest)}"
    yield f"- **point:** {escaped(verdict.point)}, one of {lineage.search_points} searched"
    yield f"- **seeds:** {', '.join(map(str, lineage.seeds))}; this is {verdict.seed}"
    yield f"- **commit:** {escaped(lineage.commit or 'unknown')}"
    yield f"- **decided:** {escaped(verdict.decided_at)}"


def _origin(spec: StudySpec, facts: Mapping[str, Any]) -> str:
    if init := spec.train.init:
        return f"a checkpoint of weightsearch (train.init), sha256 {init.sha256}"
    if "encoder_weights" not in facts:
        return "unknown"
    origin = facts["encoder_weights"]
    if not origin:
        return "random"
    digest = f", sha256 {escaped(origin['sha256'])}" if origin.get("sha256") else ""
    return f"pretrained, {_whose(origin)} {escaped(origin['name'])}{digest}"


def _whose(origin: Mapping[str, Any]) -> str:
    if package := origin.get("package"):
        return f"{escaped(package)}'s"
    return "own file" if origin.get("file") and not origin.get("hub") else "timm's"


def _licence(spec: StudySpec, facts: Mapping[str, Any]) -> str:
    if spec.train.init:
        return "see the card of the checkpoint that it was trained on from."
    if "encoder_weights" not in facts:
        return "unknown."
    origin = facts["encoder_weights"]
    if not origin:
        return "none is needed, nothing pretrained was used."
    if not origin.get("license"):
        return f"timm names none for {escaped(origin['name'])}; ask those who made them."
    by = f"the licence file of {escaped(origin['package'])}" if origin.get("package") else "timm"
    return f"{by} names {escaped(origin['license'])} for {escaped(origin['name'])}."


def _terms(spec: StudySpec) -> str:
    if spec.data is None:
        return "unknown."
    if spec.data.source == "synthetic":
        return "generated by weightsearch, nobody else's."
    return (
        "those of the data set, which weightsearch does not know. Research data sets often forbid"
        " commercial use: check before you pass this network on."
    )


def _manifest(folder: Path) -> Mapping[str, Any]:
    """What the checkpoint says of itself; nothing where it says nothing that can be read."""
    try:
        facts = json.loads((folder / "best" / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}

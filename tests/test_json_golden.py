"""The JSON that commands print and that the ledger keeps, held to the letter.

Every answer lies in tests/golden/ with its keys in their order. Only what differs from run to run
is replaced by a placeholder (`plain`); of networks the measured numbers are too. Where a change of
the JSON is meant, `python tests/test_json_golden.py` writes all files anew.
"""

from __future__ import annotations

import difflib
import json
import platform
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.command_runs import Run, Said, run_all
from support.faulty_servers import OwnServer, own_server

GOLDEN = Path(__file__).parent / "golden"

OBJECTIVE = '''
"""Errors that are fractions of the weights; GOLDEN_FAULT says what goes wrong."""

import os

def run(weights, params, context):
    fault = os.environ.get("GOLDEN_FAULT")
    if fault == "crash" and weights["ssim"] == 1:
        raise RuntimeError("planted")
    worse = 0.25 if fault == "worse" else 0.0
    base = 0.5 + worse + weights["edge"] / 4 + weights["ssim"] / 2
    errors = [base + (image + context.seed % 5) / 256 for image in range(6)]
    yield {"rmse": errors, "groups": [f"scene {image // 2}" for image in range(6)]}
'''
TOY = """
goal = "which weights are best"
objective = { run = "weightsearch.trivial:run", guards = ["rel"] }
loss = { weights = { grid = "simplex", steps = 2 } }
train = { epochs = 2 }
params = { diverge_above = 0.9 }
promote = { top = 2, seeds = [1, 2], epochs = 3 }
"""
OWN = """
goal = "what goes wrong"
objective = "rmse"
loss = { weights = { grid = "simplex", steps = 1 } }
train = { epochs = 1 }
[nightly]
seeds = [1, 2, 3]
trials = 1
canaries = [{ name = "equal", weights = "equal" }]
""".replace('"rmse"', '{ run = "mine:run" }')
DEPTH = """
goal = "which network"
loss = { weights = { mae = 0.5, edge = 0.25, ssim = 0.25 } }
train = { epochs = 1, batch = 4 }
model = { encoder = "test_resnet", pretrained = false }
promote = { top = 1, seeds = [1], epochs = 1 }
[data]
source = "synthetic"
size = [64, 64]
val = "blocks:50%"
options = { frames = 12, test_frames = 4, height = 64, width = 64, frames_per_room = 2 }
"""


@dataclass(frozen=True)
class Step:
    """A command, and the file that holds its answer; one without a name is only run."""

    name: str
    command: str
    environment: Mapping[str, str] = field(default_factory=dict)


CPU = "--workers 1 --device cpu --quiet"
BUDGET = "--budget '50 points' --budget 1h --budget '8 device-h'"
NIGHT = f"nightly own.toml {CPU} --name sweep --date"
FIRST = "2026-01-01-abc"
DIES = {"WEIGHTSEARCH_FAILPOINT": "after-claim"}
SERVICE = (
    Step("migrate", "migrate"),
    Step("launch", f"launch toy.toml {CPU} --name toy {BUDGET}"),
    Step("status", "status toy"),
    Step("best", "best toy"),
    Step("verify", "verify toy"),
    Step("failures-none", "failures toy"),
    Step("compare-points", "compare toy 0 1"),
    Step("report", "report toy --out toy.html"),
    Step("promote", "promote toy --device cpu"),
    Step("pause", "pause toy --why lunch"),
    Step("status-paused", "status toy"),
    Step("resume", "resume toy"),
    Step("stop", "stop toy --why enough"),
    Step(
        "launch-failed", f"launch own.toml {CPU} --name own --no-promote", {"GOLDEN_FAULT": "crash"}
    ),
    Step("failures", "failures own"),
    Step("verify-failed", "verify own"),
    Step("retry", "retry own --failed"),
    Step("", "worker own --device cpu", DIES),
    Step("workers", "workers own"),
    Step("status-leased", "status own"),
    Step("nightly-first", f"{NIGHT} 2026-01-01 --commit abc"),
    Step("nightly-accept", f"nightly accept sweep --night {FIRST} --why first --by somebody"),
    Step("nightly-worse", f"{NIGHT} 2026-01-02 --commit def", {"GOLDEN_FAULT": "worse"}),
    Step(
        "nightly-accept-again",
        "nightly accept sweep --night 2026-01-02-def --why slower --by somebody --force",
    ),
    Step("nightly-history", "nightly history sweep"),
    Step(
        "compare-studies", f"compare sweep-{FIRST}-search sweep-2026-01-02-def-search --out b.html"
    ),
    Step("backup", "backup all.dump"),
    Step("restore", "restore all.dump"),
    Step("delete", "delete own --yes --force"),
    Step("gc-dry-run", "gc --dry-run --unused-for 0 --only-database"),
)
ROOMS = "--reader synthetic --option frames=4 --option test_frames=2 --option height=32"
ROOMS += " --option width=32"
ON = "run --device cpu"
NETWORKS = (
    Step("data-inspect", f"data inspect {ROOMS} --picture sheet.png"),
    Step("data-pack", f"data pack {ROOMS}"),
    Step("train", "train depth.toml --out run --device cpu"),
    Step("evaluate", f"evaluate {ON}"),
    Step("evaluate-several", f"evaluate {ON} --protocol full --protocol zoe --details"),
    Step("predict", f"predict {ON} room.png --out predicted --points"),
    Step("robustness", f"robustness {ON} --limit 1"),
    Step("dispute", f"dispute {ON} --out panels --frames 1"),
)
KEPT = {
    "studies": "SELECT name, spec, equivalent_left_out, promoted, state, state_reason, budget"
    " FROM ws_studies ORDER BY id",
    "points": "SELECT s.name, number, rung, key, weights, params, seed, p.state, attempt, spent,"
    " shrink, result, reason FROM ws_points p JOIN ws_studies s ON s.id = study_id"
    " ORDER BY study_id, rung, number",
    "attempts": "SELECT s.name, number, rung, a.attempt, device, outcome, a.reason, epochs"
    " FROM ws_attempts a JOIN ws_points p ON p.id = point_id JOIN ws_studies s ON s.id = study_id"
    " ORDER BY study_id, rung, number, a.attempt",
    "nights": "SELECT sweep, night, digest, commit, verdict, final FROM ws_nights ORDER BY id",
    "baselines": "SELECT sweep, digest, measured, accepted_by, why, previous_id FROM ws_baselines"
    " ORDER BY id",
}


# What differs from run to run, by the key that it stands under.
NUMBERS = {
    *("seconds", "seconds_a_point", "seconds_left", "device_seconds", "seen_s", "pid"),
    *("images_per_second", "bytes", "database", "free"),
    *("packs", "checkpoints", "artifacts", "logs", "spool", "server"),  # bytes on the disk
}
TEXTS = {"host", "hosts", "python", "torch", "timm", "optuna", "numpy", "h5py", "weightsearch"}
TIME = re.compile(r"\d+ \w+ of device time")
DATE = re.compile(r"\d{4}-\d\d-\d\dT[\d:]{8}(\.\d+)?[+]\d\d:\d\d")
WORKER = re.compile(re.escape(platform.node()) + r"-\d+-[0-9a-f]{8}")


def plain(value: Any, measured: bool, key: str = "") -> Any:
    """JSON with placeholders, numbers to 12 digits; `measured`: without any number measured."""
    if isinstance(value, dict):
        return {name: plain(held, measured, name) for name, held in value.items()}
    if isinstance(value, list):
        return [plain(held, measured, key) for held in value]
    if isinstance(value, str):
        if key in TEXTS or re.fullmatch(r"[0-9a-f]{40}(-dirty)?|[0-9a-f]{64}", value):
            return f"<{key}>"
        value = WORKER.sub("<worker>", DATE.sub("<date>", value))
        return TIME.sub("<time> of device time", value)
    if isinstance(value, bool) or value is None:
        return value
    if key in NUMBERS or (measured and isinstance(value, float)):
        return "<number>"
    return float(f"{value:.12g}") if isinstance(value, float) else value


def answers(steps: Sequence[Step], folder: Path, measured: bool) -> dict[str, str]:
    """What the commands answer, and then what the database holds, as the golden files have it."""
    for name, text in {"toy": TOY, "own": OWN, "depth": DEPTH}.items():
        (folder / f"{name}.toml").write_text(text)
    (folder / "mine.py").write_text(OBJECTIVE)
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(folder / "room.png")
    for left in ("checkpoints/gone/abc-s0/file", "logs/gone/old.log"):
        (folder / "home" / left).parent.mkdir(parents=True)
        (folder / "home" / left).write_text("left")
    with own_server() as server:
        with server.admin() as admin:
            admin.execute("CREATE DATABASE restored")
        runs = [_run(step, folder, server) for step in steps]
        said = run_all(
            runs,
            folder,
            240,
        )
        found = {step.name: _told(step, told) for step, told in zip(steps, said, strict=True)}
        with server.admin() as admin:
            for name, query in () if measured else KEPT.items():
                rows = admin.execute(query)
                columns = [column.name for column in rows.description or ()]
                found[f"ledger-{name}"] = [dict(zip(columns, row, strict=True)) for row in rows]
    texts = {name: json.dumps(plain(value, measured), indent=1) for name, value in found.items()}
    return {
        name: text.replace(str(folder), "<folder>") + "\n" for name, text in texts.items() if name
    }


def _run(step: Step, folder: Path, server: OwnServer) -> Run:
    where = {
        "WEIGHTSEARCH_HOME": str(folder / "home"),
        "WEIGHTSEARCH_STORAGE": server.url("postgres"),
    }
    if step.name == "restore":
        where["WEIGHTSEARCH_STORAGE"] = server.url("restored")
    return Run(
        [*shlex.split(step.command), *["--json"][: bool(step.name)]], where | step.environment
    )


def _told(step: Step, said: Said) -> dict[str, Any]:
    assert said.out or not step.name, f"{step.command}: {said.code} {said.err}"
    answer = json.loads(said.out) if step.name else None
    return {"command": step.command, "exit": said.code, "answer": answer}


def compare(steps: Sequence[Step], folder: Path, measured: bool) -> None:
    found = answers(steps, folder, measured)
    changed = []
    for name, text in found.items():
        held = GOLDEN / f"{name}.json"
        was = held.read_text() if held.exists() else ""
        lines = was.splitlines(), text.splitlines()
        changed += [*difflib.unified_diff(*lines, f"golden/{name}.json", "now", n=2, lineterm="")]
    assert not changed, "\n".join(changed)


def test_the_json_of_the_service_is_as_it_was(tmp_path: Path) -> None:
    compare(SERVICE, tmp_path, measured=False)


def test_the_json_about_networks_is_as_it_was(tmp_path: Path) -> None:
    compare(NETWORKS, tmp_path, measured=True)


def main() -> None:
    """Writes every file anew."""
    for file in GOLDEN.glob("*.json"):
        file.unlink()
    for steps, measured in ((SERVICE, False), (NETWORKS, True)):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in answers(steps, Path(folder).resolve(), measured).items():
                (GOLDEN / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()

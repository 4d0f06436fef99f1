"""Planted faults against `weightsearch nightly`, with real processes and a network that is trained.

    python benchmarks/nightly.py

Copies the package, edits one line of the copy for each fault, and runs studies/nightly-cpu.toml on
it as another night of one database. Before that each fault is measured to be a regression: with
seeds that no night uses. Prints a table; about ten minutes on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "studies" / "nightly-cpu.toml"
SEEDS = "seeds  = [1, 2, 3, 4, 5, 6, 7, 8]"
FRESH = "seeds  = [101, 102, 103, 104]"


@dataclass(frozen=True)
class Fault:
    """One line of the code, and what it becomes."""

    name: str
    file: str
    line: str
    broken: str


FAULTS = [
    Fault(
        "sign of the MAE term flipped",
        "weightsearch/depth/loss/terms.py",
        '"mae": pixelwise.mae,',
        '"mae": lambda *given: -pixelwise.mae(*given),',
    ),
    Fault(
        "depth x 1.1 in the loader",
        "weightsearch/depth/training/batches.py",
        "np.where(used, depth_m, np.float32(0))",
        "np.where(used, depth_m * np.float32(1.1), np.float32(0))",
    ),
    Fault(
        "learning rate / 30",
        "weightsearch/depth/objective.py",
        'lr = float(chosen.pop("lr"))',
        'lr = 1 / 30 * float(chosen.pop("lr"))',
    ),
]


def copied(folder: Path, fault: Fault | None = None) -> Path:
    """A folder with the package in it, with the fault."""
    shutil.copytree(ROOT / "weightsearch", folder / "weightsearch")
    if fault is not None:
        file = folder / fault.file
        code = file.read_text()
        assert code.count(fault.line) == 1, f"{fault.file}: the line of '{fault.name}' has changed"
        file.write_text(code.replace(fault.line, fault.broken))
    return folder


def start(code: Path, home: Path, study: Path, commit: str, *options: str) -> subprocess.Popen[str]:
    """A night, run by the package in `code`."""
    command = [sys.executable, "-m", "weightsearch", "nightly", "run", str(study)]
    command += ["--commit", commit, "--device", "cpu", "--workers", "2", "--quiet", "--json"]
    return subprocess.Popen(
        [*command, *options],
        cwd=code,
        env=os.environ | {"PYTHONPATH": str(code), "WEIGHTSEARCH_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Its exit code and its verdict."""
    out, err = process.communicate()
    assert process.returncode in (0, 3, 4), err
    return process.returncode, json.loads(out)


def runs(verdict: dict[str, Any], canary: str, metric: str) -> list[float]:
    return [run[metric] for run in verdict["measured"]["canaries"][canary]["seeds"].values()]


def accept(code: Path, home: Path, sweep: str, night: str) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "weightsearch", "nightly", "accept", sweep),
            *("--night", night, "--why", "benchmark"),
        ],
        cwd=code,
        env=os.environ | {"PYTHONPATH": str(code), "WEIGHTSEARCH_HOME": str(home)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="weightsearch-nightly-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        home = folder / "home"
        text = STUDY.read_text()
        assert SEEDS in text
        fresh = folder / "fresh.toml"
        fresh.write_text(text.replace(SEEDS, FRESH).replace("trials = 4", "trials = 0"))
        clean = copied(folder / "clean")
        broken = [copied(folder / f"fault{k}", fault) for k, fault in enumerate(FAULTS)]

        print("Each fault, measured with four seeds that no night uses (canary equal):\n")
        row("code", "rmse", "rel", "log10")
        row("---", "---", "---", "---")
        for name, code in zip(
            ["unchanged", *(f.name for f in FAULTS)], [clean, *broken], strict=True
        ):
            _, found = ended(start(code, home, fresh, code.name))
            told = [runs(found, "equal", metric) for metric in ("rmse", "rel", "log10")]
            row(name, *(f"{mean(values):.4f} (sd {stdev(values):.4f})" for values in told))

        print("\nNights:\n")
        row("night", "exit", "answer")
        row("---", "---", "---")
        both = [start(clean, home, STUDY, "clean") for _ in range(2)]
        codes, found = zip(*map(ended, both), strict=True)
        for study in found[0]["studies"]:
            asked = subprocess.run(
                [sys.executable, "-m", "weightsearch", "verify", study, "--json"],
                cwd=clean,
                env=os.environ | {"PYTHONPATH": str(clean), "WEIGHTSEARCH_HOME": str(home)},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            told = json.loads(asked.stdout)
            once = f"{told['done_once']} done once, {told['starts']} starts"
            row(f"twice at once: {study}", codes, f"{told['points']} points, {once}")
        accept(clean, home, STUDY.stem, found[0]["night"])
        nights = [
            ("unchanged", clean, "again", ()),
            *((f.name, code, code.name, ()) for f, code in zip(FAULTS, broken, strict=True)),
            ("cut short", clean, "short", ("--budget", "20s")),
        ]
        for name, code, commit, options in nights:
            exit_code, verdict = ended(start(code, home, STUDY, commit, *options))
            row(name, exit_code, verdict["answer"])


if __name__ == "__main__":
    main()

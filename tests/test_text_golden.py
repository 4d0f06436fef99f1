"""What commands print for people at 80 columns, held to the letter.

Every answer lies in tests/golden/NAME.txt. What differs from run to run is replaced by a
placeholder. Where a change is meant, `python tests/test_text_golden.py` writes all files anew.
"""

from __future__ import annotations

import difflib
import re
import shlex
import tempfile
from pathlib import Path

from rich.cells import cell_len
from support.command_runs import Run, Said, run_all
from support.faulty_servers import own_server

GOLDEN = Path(__file__).parent / "golden"
COLUMNS = 80

OBJECTIVE = '''
"""Errors that are fractions of the weights: the second network is a little worse."""

def run(weights, params, context):
    if params["encoder"] == "broken":
        raise RuntimeError("planted")
    base = 0.5 + weights["edge"] / 4 + weights["ssim"] / 2 + len(params["encoder"]) / 1024
    errors = [base + (image + context.seed % 5) / 256 for image in range(12)]
    groups = [f"scene {image // 2}" for image in range(12)]
    found = {"rmse": errors, "rel": [e / 4 for e in errors], "log10": [e / 8 for e in errors]}
    yield {**found, "groups": groups}
    return {**found, "groups": groups} if context.final else None
'''
STUDY = """
goal = "Which of these networks and directions is best, where their names are long?"
objective = { run = "mine:run" }
loss = { weights = { grid = "simplex", steps = 3 } }
train = { epochs = 1 }
params = { encoder = ["densenet121", "mobilenetv3_small_100"] }
promote = { top = 2, seeds = [1, 2], epochs = 1 }
"""
BROKEN = STUDY.replace('"mobilenetv3_small_100"', '"broken"').replace("steps = 3", "steps = 1")
CPU = "--workers 1 --device cpu --quiet"
STEPS = {
    "launch-dry-run": f"launch toy.toml {CPU} --name toy --dry-run",
    "launch": f"launch toy.toml {CPU} --name toy --no-promote",
    "status-done": "status toy",
    "promote-dry-run": "promote toy --device cpu --dry-run",
    "promote": "promote toy --device cpu --workers 1",
    "promote-again": "promote toy --device cpu --workers 1 --promote-top 3",
    "status": "status toy",
    "best": "best toy",
    "best-wide": "best toy --wide",
    "best-csv": "best toy --csv",
    "verify": "verify toy",
    "workers": "workers toy",
    "compare": "compare toy 0 1",
    "pause": "pause toy --why lunch",
    "status-paused": "status toy",
    "resume": "resume toy",
    "launch-failed": f"launch broken.toml {CPU} --name broken --no-promote",
    "status-failed": "status broken",
    "failures": "failures broken",
    "studies": "studies",
    "studies-csv": "studies --csv",
    "gc": "gc --dry-run --unused-for 0",
    "delete": "delete broken --yes",
}
WHOLE = {"best-wide", "best-csv", "studies-csv"}
"""Asked for as wide as they are."""
VARIES = {
    r"\d{4}-\d\d-\d\dT[\d:]{8}[+]\d\d:\d\d": "<date>",
    r"\b[\w-]+-\d+-[0-9a-f]{8}\b": "<worker>",
    r"\b\d+(\.\d+)? (B|kB|MB|GB)\b": "<size>",
    r"\b\d+(\.\d+)? (s|min|h)( \d+ (s|min))?\b": "<time>",
    r"(database|logs|checkpoints|spool) <size>(, )?": "",
    r" +\n": "\n",
    r"\S+( -P -m weightsearch|/weightsearch) (best|report|verify|dashboard)": r"weightsearch \2",
}


def answers(folder: Path) -> dict[str, str]:
    """What the commands print, as the golden files have it."""
    for name, text in {"toy.toml": STUDY, "broken.toml": BROKEN, "mine.py": OBJECTIVE}.items():
        (folder / name).write_text(text)
    with own_server() as server:
        where = {
            "WEIGHTSEARCH_HOME": str(folder / "home"),
            "WEIGHTSEARCH_STORAGE": server.url("postgres"),
            "COLUMNS": str(COLUMNS),
        }
        said = run_all([Run(shlex.split(c), where) for c in STEPS.values()], folder, 240)
    return {name: _plain(told, folder) for name, told in zip(STEPS, said, strict=True)}


def _plain(said: Said, folder: Path) -> str:
    stated = [line for line in said.err.splitlines() if line.startswith("error:")]
    text = "\n".join([said.out.rstrip("\n"), *stated]).strip("\n") + "\n"
    text = text.replace(str(folder), "<folder>")
    for pattern, placeholder in VARIES.items():
        text = re.sub(pattern, placeholder, text)
    return text


def test_what_is_printed_is_as_it_was_and_fits_80_columns(tmp_path: Path) -> None:
    changed = []
    for name, text in answers(tmp_path).items():
        held = GOLDEN / f"{name}.txt"
        was = held.read_text() if held.exists() else ""
        lines = was.splitlines(), text.splitlines()
        changed += [*difflib.unified_diff(*lines, f"golden/{name}.txt", "now", n=2, lineterm="")]
        if name not in WHOLE:  # a path or a command is never broken, and an error is one line
            wide = [line for line in lines[1] if cell_len(line) > COLUMNS]
            changed += [
                f"{name}: too wide: {line}"
                for line in wide
                if "<folder>" not in line and not line.startswith("error:")
            ]
    assert not changed, "\n".join(changed)


def main() -> None:
    """Writes every file anew."""
    with tempfile.TemporaryDirectory() as folder:
        found = answers(Path(folder).resolve())
    for file in GOLDEN.glob("*.txt"):
        file.unlink()
    for name, text in found.items():
        (GOLDEN / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    main()

"""Whether a study on the embedded server outlives its crashes.

    python benchmarks/crashes.py [--crashes 40] [--seed 0] [--points 600]

One `launch` on the embedded server of a fresh home. Meanwhile its postmaster (SIGKILL, or SIGQUIT,
an immediate stop) or its supervisor (SIGKILL) is killed again and again, at moments drawn from the
seed: some while the server recovers from the last crash. Where a launch ends early it is started
again, as a user would do. Counted: crashes, those during a recovery, launches, lines that speak of
corruption in whatever was said to the user, and what `verify` says at the end.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.embedded_servers import remove, supervisor_of  # noqa: E402
from support.trivial_studies import trivial_study  # noqa: E402

from weightsearch.runtime import child_python  # noqa: E402
from weightsearch.store.embedded import server_folders  # noqa: E402

MOMENTS_S = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
"""After a server's start; the first few fall into its recovery."""
CORRUPTION = re.compile("corrupt|backup", re.IGNORECASE)


@dataclass
class Crashed:
    """What came of it."""

    crashes: int = 0
    recovering: int = 0
    """Of them, before the server took connections again."""
    launches: list[int] = field(default_factory=list)
    """The exit code of each."""
    said: str = ""

    def corruption(self) -> list[str]:
        return [line for line in self.said.splitlines() if CORRUPTION.search(line)]


def postmaster(home: Path) -> tuple[int, bool] | None:
    """The running server's process, and whether it takes connections."""
    with suppress(OSError, ValueError, IndexError):
        folder = server_folders.server_folder(home)
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
        if (Path(f"/proc/{pid}") / "comm").read_text().strip() == "postgres":
            return pid, lines[7:8] == ["ready   "]
    return None


def crash(home: Path, chance: random.Random, last: int) -> tuple[int, bool] | None:
    """Kills the server once, where another than the `last` runs; its process, and whether it had
    been ready."""
    found = postmaster(home)
    if found is None or found[0] == last:
        return None
    time.sleep(chance.choice(MOMENTS_S))
    now = postmaster(home)
    if now is None or now[0] != found[0]:
        return None
    supervisor = supervisor_of(home)
    with suppress(ProcessLookupError):
        if supervisor is not None and supervisor > 1 and chance.random() < 0.25:
            os.kill(supervisor, signal.SIGKILL)
        assert now[0] > 1
        os.kill(now[0], chance.choice([signal.SIGKILL, signal.SIGQUIT]))
        return now
    return None


def run(home: Path, crashes: int, seed: int, points: int) -> Crashed:
    chance, found, last = random.Random(seed), Crashed(), 0
    file, log = home / "crashed.toml", home / "said"
    sampler = f'\n[sampler]\nkind = "random"\ntrials = {points}\n'
    file.write_text(trivial_study(0.02, sampler))
    words = ["launch", str(file), "--device", "cpu", "--workers", "2", "--name", "crashed"]
    environment = os.environ | {"WEIGHTSEARCH_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("WEIGHTSEARCH_STORAGE", None)
    while not found.launches or (found.launches[-1] and len(found.launches) < crashes):
        with log.open("ab") as output:
            launch = subprocess.Popen(
                child_python.command("weightsearch", *words),
                env=environment, stdout=output, stderr=output,
            )  # fmt: skip
        while launch.poll() is None:
            if found.crashes < crashes and (killed := crash(home, chance, last)):
                last, ready = killed
                found.crashes, found.recovering = found.crashes + 1, found.recovering + (not ready)
            time.sleep(0.002)
        found.launches.append(launch.returncode)
    found.said = log.read_text(errors="replace")
    for written in (home / "logs").glob("**/*.log"):
        found.said += written.read_text(errors="replace")
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--crashes", type=int, default=40)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--points", type=int, default=600)
    asked = options.parse_args()
    home = Path(tempfile.mkdtemp(prefix="weightsearch-crashes-"))
    home.chmod(0o755)
    os.environ["WEIGHTSEARCH_HOME"] = str(home)
    began = time.monotonic()
    try:
        found = run(home, asked.crashes, asked.seed, asked.points)
        took = time.monotonic() - began
        checked = subprocess.run(
            child_python.command("weightsearch", "verify", "crashed", "--json"),
            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        print(
            f"{found.crashes} crashes, {found.recovering} of them during a recovery, {took:.0f} s"
        )
        print(f"launches ended with {found.launches}")
        print(f"lines about corruption: {len(found.corruption())}", *found.corruption(), sep="\n  ")
        print(
            f"verify: exit {checked.returncode} {checked.stdout.strip() or checked.stderr.strip()}"
        )
        print(*[line for line in found.said.splitlines() if line.startswith("error: ")], sep="\n")
    finally:
        remove(home)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()

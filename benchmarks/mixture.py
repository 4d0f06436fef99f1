"""How often a study promotes a direction that leaves a term out, where that is best.

    python benchmarks/mixture.py [--studies 100] [--terms 3 4 5] [--samplers mixture random tpe]

Each study runs through the ledger of an embedded server, from plan to promotion, with a planted
truth in place of training: a bowl of 1.0 at its lowest, which lies on a face, and noise of 1 % from
seed to seed. The three finalists get three fresh seeds each. In the control the lowest point lies
inside the simplex. Regret is how much worse than 1.0 the promoted direction is. Believed
is the share of studies whose surface is, of mixture alone; with the truth none there is nothing to
find.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import simulated_mixtures as simulated  # noqa: E402
from support.embedded_servers import remove  # noqa: E402

from weightsearch.report.evidence import mixture_answer  # noqa: E402
from weightsearch.store.connection.database import Database, open_database  # noqa: E402
from weightsearch.store.ledger import queries  # noqa: E402

TRIALS = {2: 14, 3: 24, 4: 32, 5: 40, 6: 50, 7: 60, 8: 70}
TRUTHS = {"face, sqrt(w)": (1, 0.5), "face, w": (1, 1.0), "inside, w": (0, 1.0), "none": (0, 0.0)}
"""How many terms are left out, and the power of the weights in which the bowl is round."""


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def measure(opened: Database, sampler: str, terms: int, truth: str, number: int) -> None:
    zeros, regrets, believed, began = [], [], [], time.perf_counter()
    left_out, power = TRUTHS[truth]
    for seed in range(number):
        spec = simulated.spec_of(terms, sampler, TRIALS[terms], seed)
        level = simulated.planted(terms, seed, left_out, power)
        name = f"{sampler} {terms} {truth} {seed}"
        study = simulated.searched(opened, name, spec, level)
        answer = mixture_answer.answer(spec, queries.done(opened.engine, study))
        if answer is not None:
            believed.append(answer.region is not None)
        point = simulated.promoted(opened, study, level)
        zeros.append(0 in point.weights.values())
        regrets.append(100 * (level({t: float(w) for t, w in point.weights.items()}) - 1))
    spent = (time.perf_counter() - began) / number
    shares = (f"{100 * mean(found):.0f} %" if found else "-" for found in (zeros, believed))
    worst = f"{mean(regrets):.2f} / {max(regrets):.2f}"
    row(sampler, terms, TRIALS[terms], truth, number, *shares, worst, f"{spent:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--terms", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--samplers", nargs="+", default=["mixture", "random", "tpe"])
    parser.add_argument("--truths", nargs="+", default=list(TRUTHS), choices=list(TRUTHS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weightsearch-mixture-") as made:
        home = Path(made)
        home.chmod(0o755)
        opened = open_database(None, home / "home")
        try:
            heads = ("sampler", "terms", "points", "truth", "studies", "exact zero", "believed")
            row(*heads, "regret mean / max, %", "s a study")
            row(*["---"] * 9)
            for terms in asked.terms:
                for truth in asked.truths:
                    for sampler in asked.samplers:
                        measure(opened, sampler, terms, truth, asked.studies)
        finally:
            opened.engine.dispose()
            remove(home / "home")


if __name__ == "__main__":
    main()

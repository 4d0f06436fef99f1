"""What runs that share their start cost, and whether they order directions as runs from scratch do.

    python benchmarks/sharing.py [--encoder tf_efficientnet_lite0] [--steps 3] [--epochs 4]

The directions of a lattice are trained on synthetic rooms from scratch, with two seeds, and, with
the first of them, in every form that [share] knows. Agreement is Kendall's tau-b with the first
seed from scratch; the second seed's is the reference, as nobody can ask more of a screening than of
another seed. Costs are shares of what scratch runs with the same seed took, in the same process: in
epochs, and in seconds of training and validation; the trunk's are charged to its forks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from weightsearch.depth import objective
from weightsearch.stats.rank_agreement import kendall_tau
from weightsearch.study import loading, planning
from weightsearch.study.objective_contract import Context, Fork, summarise
from weightsearch.study.spec import StudySpec


@dataclass
class Bench:
    """One study's directions, trained in one process."""

    spec: StudySpec
    home: Path
    cache: dict[str, Any] = field(default_factory=dict)

    def run(self, weights: Mapping[str, float], name: str, **of: Any) -> tuple[float, float]:
        """The last epoch's metric, and the seconds that it took."""
        given: dict[str, Any] = {"spec": self.spec, "seed": 0, "until": None} | of
        context = Context(
            study="sharing",
            epochs=self.spec.train.epochs,
            patience=None,
            device="cpu",
            folder=self.home / name,
            home=self.home,
            cache=self.cache,
            **given,
        )
        began, value = time.perf_counter(), 0.0
        for number, epoch in enumerate(objective.run(weights, {}, context), 1):
            value = summarise(epoch).metrics[self.spec.objective.metric]
            if number == context.until:
                break
        return value, time.perf_counter() - began


def main() -> None:
    asked = arguments()
    spec = study(asked.encoder, asked.steps, asked.epochs, asked.frames, asked.size)
    plan = planning.plan(spec)
    directions = [
        {t: float(w) for t, w in point.weights.items()}
        for point in plan.points
        if point is not None
    ]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(spec, Path(folder))
        bench.run(directions[0], "warm", until=1)  # packs the data, builds what runs share
        scratch = [bench.run(d, f"scratch-{k}") for k, d in enumerate(directions)]
        values, whole_s = [v for v, _ in scratch], sum(s for _, s in scratch)
        print(f"{asked.encoder}, {len(directions)} directions, {spec.train.epochs} epochs; from")
        print(f"scratch {min(values):.4f} to {max(values):.4f}, {whole_s:.0f} s\n", flush=True)
        print("| form | tau | epochs | seconds |\n|---|---|---|---|", flush=True)
        again = [bench.run(d, f"seed-{k}", seed=1000) for k, d in enumerate(directions)]
        row("from scratch, another seed", values, again, 1.0, 0.0, whole_s)
        for fraction, moments in product(asked.fractions, ("reset", "kept")):
            epochs = round(fraction * spec.train.epochs)
            name = f"{moments}-{fraction}"
            equal = dict.fromkeys(spec.loss.terms, 1 / len(spec.loss.terms))
            _, trunk_s = bench.run(equal, f"trunk-{name}", until=epochs)
            fork = Fork(equal, epochs, bench.home / f"trunk-{name}", moments)  # type: ignore[arg-type]
            found = [bench.run(d, f"fork-{name}-{k}", fork=fork) for k, d in enumerate(directions)]
            share = epochs / spec.train.epochs  # whole epochs are trained
            cost = share / len(directions) + 1 - share
            told = f"trunk of {epochs} epochs, moments {moments}"
            row(told, values, found, cost, trunk_s, whole_s)
        train = spec.train.model_copy(update={"freeze": "all"})
        frozen = spec.model_copy(update={"train": train})
        bench.run(directions[0], "warm-frozen", spec=frozen, until=1)
        found = [bench.run(d, f"frozen-{k}", spec=frozen) for k, d in enumerate(directions)]
        row("frozen encoder", values, found, 1.0, 0.0, whole_s)


def row(
    form: str,
    scratch: Sequence[float],
    found: Sequence[tuple[float, float]],
    epochs: float,
    trunk_s: float,
    whole_s: float,
) -> None:
    tau = kendall_tau(scratch, [value for value, _ in found])
    agreement = "-" if tau is None else f"{tau:.2f}"
    took_s = trunk_s + sum(seconds for _, seconds in found)
    print(f"| {form} | {agreement} | {epochs:.2f} | {took_s / whole_s:.2f} |", flush=True)


def study(encoder: str, steps: int, epochs: int, frames: int, size: tuple[int, int]) -> StudySpec:
    tables = {
        "goal": "Do shared starts order directions as runs from scratch do?",
        "data": {
            "source": "synthetic",
            "size": list(size),
            "val": "blocks:30%",
            "options": {"frames": frames, "test_frames": 4, "height": size[0], "width": size[1]},
        },
        "model": {"encoder": encoder, "pretrained": True},
        "loss": {"weights": {"grid": "simplex", "steps": steps}},
        "train": {"epochs": epochs, "batch": 4, "lr": 3e-4},
    }
    return loading.parse(tables, "the benchmark")


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--encoder", default="tf_efficientnet_lite0")
    options.add_argument("--steps", type=int, default=3, help="of the lattice")
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--frames", type=int, default=60)
    options.add_argument("--size", type=int, nargs=2, default=(64, 96))
    options.add_argument("--fractions", type=float, nargs="+", default=[0.25, 0.5, 0.75])
    return options.parse_args()


if __name__ == "__main__":
    main()

"""Records made directly: as many points as one likes, no database."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from support.specs import make_spec
from weightsearch.report.evidence.records import Attempt, Records
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.results import Evaluation, Result
from weightsearch.store.tables.states import Outcome
from weightsearch.study import search_space
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

ENCODERS = ("densenet121", "efficientnet_b0", "resnet18")
OPTIMUM = (0.5, 0.1, 0.4)


def report_spec(terms: tuple[str, ...] = ("mae", "edge", "ssim"), **tables: Any) -> StudySpec:
    loss = {"terms": terms, "weights": {"grid": "simplex", "steps": 6}}
    given: dict[str, Any] = {"loss": loss, "params": {"encoder": ENCODERS}, "train": {"epochs": 5}}
    given["data"] = {"source": "synthetic", "size": [32, 32]}  # so that they are records of depth
    return make_spec(**given | tables)


def point(k: int, terms: tuple[str, ...], encoders: tuple[str, ...] = ENCODERS) -> Point:
    """The k-th: first the grid's, then random ones."""
    source = random.Random(k)
    parts = [source.randrange(0, 7) for _ in terms]
    if k % 10 == 0:
        parts = [0] * len(terms)
        parts[(k // 10) % len(terms)] = 1
    parts = parts if any(parts) else [1] * len(terms)
    weights = search_space.canonical(
        {t: Fraction(p) for t, p in zip(terms, parts, strict=True)}, True
    )
    return Point(weights, {"encoder": encoders[k % len(encoders)]})


def result(where: Point, k: int, groups: int = 6, images: int = 24) -> Result:
    """Errors that grow with the distance from OPTIMUM, of images of `groups` scenes."""
    shares = [float(w) for w in where.weights.values()]
    far = sum((s - o) ** 2 for s, o in zip(shares, OPTIMUM, strict=False))
    source = random.Random(f"noise {k}")
    hard = [random.Random(f"scene {g}").uniform(-0.1, 0.1) for g in range(groups)]
    scale = 1.0 if where.params.get("encoder") != "resnet18" else 1.1
    rmse = [scale * (0.5 + far + hard[i % groups] + source.gauss(0, 0.02)) for i in range(images)]
    samples = {"rmse": rmse, "rel": [0.3 * e for e in rmse], "log10": [0.1 * e for e in rmse]}
    metrics = {name: sum(v) / len(v) for name, v in samples.items()}
    sizes = {"densenet121": 8e6, "efficientnet_b0": 5e6, "resnet18": 11e6}
    metrics["parameters"] = sizes.get(str(where.params.get("encoder")), 1e6)
    scenes = [f"scene {i % groups}" for i in range(images)]
    return Result(
        outcome=Outcome.DONE,
        validation=Evaluation(metrics, samples, scenes, images),
        epoch=5,
        seconds=30.0,
        device="cuda:0",
        folder="/nowhere",
        commit="0123456789abcdef",
    )


def make_records(
    count: int,
    failed: bool = False,
    terms: tuple[str, ...] = ("mae", "edge", "ssim"),
    study: str = "made-up",
    epochs: int = 5,
    encoders: tuple[str, ...] = ENCODERS,
) -> Records:
    """`count` points by four workers; every eleventh attempt is lost and tried again."""
    spec = report_spec(terms, params={"encoder": encoders})
    attempts: list[Attempt] = []
    done: list[Done] = []
    free = [0.0] * 4
    for k in range(count):
        where, worker = point(k, terms, encoders), free.index(min(free))
        tries = 2 if k % 11 == 5 else 1
        for attempt in range(1, tries + 1):
            lost = attempt < tries
            began, free[worker] = free[worker], free[worker] + (12.0 if lost else 31.0)
            found = result(where, k)
            curve = [
                {
                    "rmse": found.metrics["rmse"] * (1 + 1 / e),
                    **{f"share_{t}": 1 / len(terms) for t in terms},
                    **{f"gradient_share_{t}": (1 + 0.1 * e) / 5 for t in terms},
                }
                for e in range(1, epochs + 1)
            ]
            outcome = "lost" if lost else "failed" if failed else "done"
            attempts.append(
                Attempt(
                    number=k,
                    rung=0,
                    seed=0,
                    attempt=attempt,
                    point=where,
                    worker=f"host-{worker}-abcdef{worker}",
                    device="cuda:0",
                    began_s=began,
                    ended_s=free[worker],
                    outcome=outcome,
                    reason=None if outcome == "done" else "ValueError: <b>no</b>",
                    epochs=[] if failed or lost else curve,
                    device_s=free[worker] - began,
                )
            )
        if not failed:
            done.append(Done(k, k, 0, where, result(where, k)))
    full = [
        Done(1000 + s, s, s, done[0].point, result(done[0].point, 5000 + s))
        for s in (1, 2, 3)
        if done
    ]
    counts = {"total": count, "done": len(done), "failed": count - len(done)}
    return Records(
        study=study,
        spec=spec,
        attempts=attempts,
        done=done,
        full=full,
        counts=counts | {"waiting": 0, "leased": 0, "paused": 0},
        data_digest="d" * 64,
        equivalent_left_out=3,
        device_seconds=sum(attempt.device_s for attempt in attempts),
    )

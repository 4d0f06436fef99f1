"""A study launched and read from Python; checked by `mypy --strict`."""

from __future__ import annotations

import sys

import weightsearch as ws

STUDY = {
    "goal": "which weights are best",
    "objective": {"run": "weightsearch.study.trivial_objective:run"},
    "loss": {"weights": {"grid": "simplex", "steps": 2}},
    "train": {"epochs": 2},
}


def main(name: str) -> str:
    launched: ws.Launch = ws.launch(STUDY, name=name, device="cpu", workers=1, promote=False)
    study: ws.Study = launched.wait(timeout_s=600)
    best = study.best()
    assert best is not None
    value: float = best.value
    weights: dict[str, float] = dict(best.weights)
    return f"{value:.3f} with {weights}\n{study.headline}"


if __name__ == "__main__":
    try:
        print(main("from-python"))
    except ws.WeightsearchError as error:
        sys.exit(str(error))

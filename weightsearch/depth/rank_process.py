"""Another rank of a full run (training/ranks.py): takes the steps that the first takes.

Reads one line of JSON, says that it is ready, and trains until it is ended, or the process that
started it is gone. What the first rank does in `objective.run` beside training, it leaves out.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from weightsearch.data.packs import building
from weightsearch.depth import prepared
from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.network.prediction import Predict
from weightsearch.depth.training import ranks as several
from weightsearch.depth.training.ranks import RankLost, Ranks
from weightsearch.errors import NonFiniteLoss
from weightsearch.study import loading
from weightsearch.study.objective_contract import Context


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    follow(told)


def follow(told: dict[str, Any]) -> None:
    """Every step of the run, from where its checkpoint stands."""
    ranks, weights, params = Ranks(told["rank"], told["count"]), told["weights"], told["params"]
    paths = told["paths"]
    context = Context(
        spec=loading.parse(told["spec"], "the study"),
        device=several.device(told["first"], ranks.rank),
        folder=Path(paths["folder"]),
        home=Path(paths["home"]),
        data=Path(paths["data"]) if paths["data"] else None,
        final=True,
        **told["context"],
    )
    context = prepared.at_size(params, context)
    assert context.spec.data is not None
    data = context.spec.data
    path = building.ensure(data.source, context.data, data.options, context.home)
    with several.telling(), building.Pack(path) as native:
        point = prepared.prepared(weights, params, context, native, ranks)
    trainer, lane = point.trainer, point.lane
    print(several.READY, flush=True)
    # What it comes to, the first rank says.
    with (
        suppress(NonFiniteLoss, RankLost),
        several.group(ranks, told["first"], told["meeting"]),
        several.telling(),  # before the group is left, which the first would see
    ):
        ranks.check_place(lane.epoch, lane.step, trainer.device)
        for _ in trainer.run(lane, context.epochs, _unscored):
            pass
        print(several.DONE, flush=True)


def _unscored(predict: Predict) -> Scores:
    """The first rank alone validates."""
    return Scores("", "none", "", {}, {}, [], [], [], [], [], [], [])


def _end_with_the_first() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()

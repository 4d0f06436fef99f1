"""The depth objective, noting after each point how much memory its process holds."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path

from weightsearch.depth import objective
from weightsearch.study.objective_contract import Context, Run
from weightsearch.study.spec_fields import Value

NOTED = "resident_kb"


def run(weights: Mapping[str, float], params: Mapping[str, Value], context: Context) -> Run:
    test = yield from objective.run(weights, params, context)
    gc.collect()  # what waits for the collector is no leak
    words = Path("/proc/self/status").read_text().split()
    with (context.home / NOTED).open("a") as notes:
        print(words[words.index("VmRSS:") + 1], file=notes)
    return test

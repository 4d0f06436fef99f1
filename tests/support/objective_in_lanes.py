"""An objective that trains points together, for tests of lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from weightsearch.study.objective_contract import Context, Epoch, Point, Run


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


class Objective(ModuleType):
    """An objective's module that says what it was asked for, and does what a test wants."""

    APART = ("odd",)

    def __init__(self) -> None:
        super().__init__("objective_in_lanes")
        self.together: list[int] = []
        self.trained: list[tuple[int, int]] = []
        """Which point, by its mae, and which of its epochs."""
        self.at: Callable[[int, int, Context], None] = lambda point, epoch, context: None

    def run(self, weights: Any, params: Any, context: Context) -> Iterator[Epoch]:
        point = round(3 * weights["mae"]) * 10 + round(3 * weights["edge"])
        for epoch in range(1, context.epochs + 1):
            self.trained.append((point, epoch))
            self.at(point, epoch, context)
            yield {"rmse": point + 1 / epoch}

    def run_together(self, these: Sequence[Point], contexts: Sequence[Context]) -> list[Run]:
        self.together.append(len(these))
        return [self.run(*one, c) for one, c in zip(these, contexts, strict=True)]  # type: ignore[misc]

"""What is asked of a launch, by a program and by the command alike; the network stays unloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weightsearch.launch.preparation import Request
from weightsearch.runtime.home import home_folder
from weightsearch.study import budget as budgets
from weightsearch.study import loading
from weightsearch.study.spec import StudySpec


def named(
    study: str | Path | Mapping[str, Any] | StudySpec,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[StudySpec, Path | None]:
    """The study, and its file where it is of one; `overrides` are laid over a file."""
    if isinstance(study, StudySpec):
        return study, None
    if isinstance(study, Mapping):
        return loading.parse(study, "the study"), None
    file = loading.study_file(str(study))
    return loading.load(file, overrides), file


def asked(
    spec: StudySpec,
    file: Path | None,
    name: str | None,
    data: Path | None,
    device: str,
    workers: int | None,
    on: str,
    budget: str | Sequence[str] | None,
) -> Request:
    """What a launch is asked for, by Python and by the command, which adds its own to it."""
    limits = budget or spec.budget
    return replace(
        request(on, device, workers, loading.data_path(spec, data), file),
        name=name or f"{file.stem if file else ''}-{spec.sampler.kind}",
        budget=budgets.parse((limits,) if isinstance(limits, str) else limits),
    )


def request(
    on: str, device: str, workers: int | None, data: Path | None, file: Path | None = None
) -> Request:
    """What a launch, a promotion or a night is asked for, not named yet; `file` is the study's."""
    folders = [os.getcwd(), *([str(file.resolve().parent)] if file else [])]
    return Request(
        name="",
        home=home_folder(),
        data=Path(os.path.realpath(data)) if data else None,
        device=device,
        workers=workers,
        on=on,
        path=tuple(dict.fromkeys(folders)),
    )

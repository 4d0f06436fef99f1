"""In which settings a study file differs from the study that has its name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weightsearch.study.loading import EXTENDED
from weightsearch.study.spec import NO_IDENTITY, StudySpec

NAMED = 3
"""Settings that a message names; the others it counts."""
LONGEST = 60
"""Letters of a value in a message."""


def changed(before: Any, now: Any, place: str = "") -> dict[str, list[Any]]:
    """`{"answer.repeats": [1, 5]}`."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return {} if before == now else {place.removeprefix("."): [before, now]}
    found: dict[str, list[Any]] = {}
    for key in dict.fromkeys((*before, *now)):
        found |= changed(before.get(key), now.get(key), f"{place}.{key}")
    return found


def refusal(name: str, before: StudySpec, now: StudySpec) -> str:
    """Why a launch cannot go on with a study, whose settings were others, in one line."""
    found = {
        place: values
        for place, values in changed(before.resolved(), now.resolved()).items()
        if _counts(place, before, now)
    }
    if not found:  # the same settings mean something else to this release
        return (
            f"study '{name}' must be computed as it was planned, but this release computes the same"
            f" settings otherwise (digest {before.digest()}, now {now.digest()}); go on with the"
            " release that planned it, or launch it under another --name."
        )
    them = "them" if len(found) > 1 else "it"
    return (
        f"study '{name}' was planned from other settings ({_told(found)}); restore {them},"
        f"{_growth(name, found)} or choose another name with --name."
    )


def _counts(place: str, before: StudySpec, now: StudySpec) -> bool:
    """Whether results depend on the setting, so that it is part of what a study is."""
    table = place.partition(".")[0]
    if table == "answer":  # where a pruner compares, it goes by the margin
        prunes = "none" not in (before.pruner.kind, now.pruner.kind)
        return place == EXTENDED["repeats"] or prunes
    return table not in (*NO_IDENTITY, "promote")


def _told(found: Mapping[str, Sequence[Any]]) -> str:
    parts = [
        f"{place} was {_value(was)}, now {_value(now)}"
        for place, (was, now) in list(found.items())[:NAMED]
    ]
    more = len(found) - NAMED
    return "; ".join([*parts, *([f"and {more} more"] if more > 0 else [])])


def _value(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _growth(name: str, found: Mapping[str, Sequence[Any]]) -> str:
    """How the study can be had larger, where that is all that is wanted."""
    names = {place: name for name, place in EXTENDED.items()}
    if not all(place in names and was and now and was < now for place, (was, now) in found.items()):
        return ""
    asked = ",".join(f"{names[place]}={now}" for place, (_, now) in found.items())
    return f" let the study grow with `weightsearch launch {name} --extend {asked}`,"

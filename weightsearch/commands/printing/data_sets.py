"""What the commands about data print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsearch.data.readers.registry import DEFAULTS
from weightsearch.runtime.console import console
from weightsearch.runtime.line_width import wrapped
from weightsearch.runtime.safe_text import counted


def inspected(answer: Mapping[str, Any]) -> None:
    plain = DEFAULTS.get(answer["reader"], {})
    changed = [f"{k} = {v!r}" for k, v in answer["options"].items() if v != plain.get(k)]
    _say(f"reader {answer['reader']}, {', '.join(changed) or 'its options as by default'}")
    for split, listed in answer["splits"].items():
        blocks = counted(answer["groups"][split], "scene or block", "scenes or blocks")
        console.print(
            f"{split}: {counted(len(listed), 'frame')}, {blocks}\n  {listed[0]} .. {listed[-1]}"
        )
    depth = answer["depth_m"]
    _say(
        f"ground truth {answer['ground_truth']}; the range of the data set ends at"
        f" {answer['max_depth_m']:g} m"
    )
    deep = (
        f", {depth['min']:.2f} to {depth['max']:.2f} m deep, median {depth['median']:.2f} m"
        if depth
        else ""
    )
    _say(
        f"of {counted(answer['sampled'], 'frame')} looked at: {100 * answer['valid_share']:.3g} %"
        f" of the pixels valid{deep}"
    )
    for kind in answer["sizes"]:
        rgb, deep = ("x".join(map(str, kind[part])) for part in ("rgb", "depth"))
        also = "" if rgb == deep else f", depth {deep}"
        console.print(f"  {counted(kind['frames'], 'frame')} of {rgb} (height x width){also}")
    for part in answer["histogram"] if depth else ():
        bar = "#" * round(50 * part["share"])
        console.print(
            f"  {part['from']:5.3g} to {part['to']:<4.3g} m {100 * part['share']:5.1f} % {bar}"
        )
    for name, side in answer["validation"]["sides"].items():
        by = f" ({answer['validation']['val']})" if name == "validation" else ""
        _say(
            f"{name}{by}: {counted(side['frames'], 'frame')}, {counted(side['groups'], 'group')};"
            f" digest of the frames' names {side['digest'][:12]}"
        )
    if shift := answer["shift"]:
        console.print(
            f"edges of RGB and depth agree best at a shift of {shift['dx']}, {shift['dy']} pixels"
        )
    for line in answer["notes"]:
        _say(f"note: {line}")
    for line in answer["warnings"]:
        _say(f"warning: {line}")


def _say(text: str) -> None:
    """A sentence, in lines as wide as the terminal."""
    console.print(wrapped(text, console.file))


def packed(answer: Mapping[str, Any]) -> None:
    console.print(
        f"{answer['pack']}: {counted(answer['frames'], 'frame')}, digest {answer['digest'][:12]}"
    )
    if answer["skipped"]:
        console.print(
            f"skipped, having no valid depth: {counted(len(answer['skipped']), 'frame')}, first"
            f" {answer['skipped'][0]}"
        )

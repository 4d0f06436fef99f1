"""What the commands about data print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsearch.runtime.console import console


def inspected(answer: Mapping[str, Any]) -> None:
    options = ", ".join(f"{name} = {value!r}" for name, value in answer["options"].items())
    console.print(f"reader {answer['reader']} ({options})")
    for split, listed in answer["splits"].items():
        console.print(
            f"{split}: {len(listed)} frames, {answer['groups'][split]} scenes or blocks\n"
            f"  {listed[0]} .. {listed[-1]}"
        )
    depth = answer["depth_m"]
    console.print(
        f"ground truth {answer['ground_truth']}, promised up to {answer['max_depth_m']:g} m\nof"
        f" {answer['sampled']} frames looked at: {100 * answer['valid_share']:.3g} % of the pixels"
        " valid"
        + (
            f", {depth['min']:.2f} to {depth['max']:.2f} m deep, median {depth['median']:.2f} m"
            if depth
            else ""
        )
    )
    for kind in answer["sizes"]:
        rgb, deep = ("x".join(map(str, kind[part])) for part in ("rgb", "depth"))
        also = "" if rgb == deep else f", depth {deep}"
        console.print(f"  {kind['frames']} frames of {rgb} (height x width){also}")
    for part in answer["histogram"] if depth else ():
        bar = "#" * round(50 * part["share"])
        console.print(
            f"  {part['from']:5.3g} to {part['to']:<4.3g} m {100 * part['share']:5.1f} % {bar}"
        )
    for name, side in answer["validation"]["sides"].items():
        console.print(
            f"{name}: {side['frames']} frames, {side['groups']} groups, names"
            f" {side['digest'][:12]}"
            + (f" ({answer['validation']['val']})" if name == "validation" else "")
        )
    if shift := answer["shift"]:
        console.print(
            f"edges of RGB and depth agree best at a shift of {shift['dx']}, {shift['dy']} pixels"
        )
    for line in answer["notes"]:
        console.print(f"note: {line}")
    for line in answer["warnings"]:
        console.print(f"warning: {line}")


def packed(answer: Mapping[str, Any]) -> None:
    console.print(f"{answer['pack']}: {answer['frames']} frames, digest {answer['digest'][:12]}")
    if answer["skipped"]:
        console.print(
            f"skipped, having no valid depth: {len(answer['skipped'])} frames, first"
            f" {answer['skipped'][0]}"
        )

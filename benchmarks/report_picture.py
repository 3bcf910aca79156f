"""The picture of the report in the README: `python benchmarks/report_picture.py REPORT.html OUT.png`, in Chromium.

Two pieces of one page, the overview and the browser of pairs, one below the other, as a reader sees them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1200, 900
STACKED = """<style>body {{margin: 0; background: #fff}} img {{display: block; width: {width}px}}</style>
<img src="{first}"><img src="{second}">"""


def piece(tab: Any, selector: str, height: int, file: Path) -> None:
    """A picture of the page from an element downwards."""
    top = tab.locator(selector).first.evaluate("e => e.getBoundingClientRect().top + window.scrollY")
    clip = {"x": 0, "y": top + 8, "width": WIDTH, "height": height}
    tab.screenshot(path=str(file), full_page=True, clip=clip)


def main() -> None:
    page, out = (Path(argument).resolve() for argument in sys.argv[1:3])
    browser = next(b for name in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(name)))
    pieces = [out.with_suffix(f".{number}.png") for number in (1, 2)]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab.goto(page.as_uri())
        tab.wait_for_timeout(1000)
        piece(tab, "#overview", 462, pieces[0])
        piece(tab, "#pairs", 650, pieces[1])
        tab.set_viewport_size({"width": WIDTH, "height": 1112})
        stacked = out.with_suffix(".html")
        stacked.write_text(STACKED.format(width=WIDTH, first=pieces[0].name, second=pieces[1].name))
        tab.goto(stacked.as_uri())
        tab.wait_for_timeout(300)
        tab.screenshot(path=str(out))
        chromium.close()
    Image.open(out).convert("RGB").quantize(128).save(out, optimize=True)
    for file in (*pieces, stacked):
        file.unlink()
    print(f"{out}: {out.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()

"""The page in a real browser, opened from a file: nothing runs, nothing is fetched, nothing sticks out."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlaif.page.render import page
from tests.page.audited import whole, wholly_hostile
from tests.page.synthetic import WARNING

pytestmark = pytest.mark.browser

WIDTHS = (400, 1280)
# How far the page, and any box that scrolls by itself, is wider than what is seen of it.
PAGE_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BOX_OVERFLOW = "Math.max(...[...document.querySelectorAll('.scroll')].map(box => box.scrollWidth - box.clientWidth))"
UNFOLD = "document.querySelectorAll('details').forEach(box => { box.open = true })"


class Visit(NamedTuple):
    """An open page, and what happened while it was opened."""

    tab: Any
    console: list[str]
    dialogs: list[str]
    requests: list[str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("page")
    made = {"full": folder / "full.html", "hostile": folder / "hostile.html"}
    made["full"].write_text(page(whole()), encoding="utf-8")
    made["hostile"].write_text(page(wholly_hostile()), encoding="utf-8")
    return made


def visit(browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> Visit:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    seen = Visit(context.new_page(), [], [], [])

    def answer(dialog: Any) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    seen.tab.on("console", lambda message: seen.console.append(message.text))
    seen.tab.on("pageerror", lambda error: seen.console.append(str(error)))
    seen.tab.on("dialog", answer)
    seen.tab.on("request", lambda request: seen.requests.append(request.url))
    seen.tab.goto(path.as_uri(), wait_until="load")
    return seen


@pytest.mark.parametrize("width", WIDTHS)
def test_page_opens_from_a_file_and_shows_what_matters(browser: Any, files: dict[str, Path], width: int) -> None:
    seen = visit(browser, files["full"], width)
    assert seen.console == [] and seen.dialogs == []
    assert seen.requests == [files["full"].as_uri()]
    for words in (
        "This is a simulation.",
        WARNING,
        "Before and after",
        "vllm:tinyworld/critic",
        "+52 pt",
        "What to distrust",
    ):
        assert seen.tab.get_by_text(words).first.is_visible(), words
    assert seen.tab.evaluate(PAGE_OVERFLOW) == 0
    seen.tab.evaluate(UNFOLD)
    assert seen.tab.evaluate(PAGE_OVERFLOW) == 0
    assert seen.tab.evaluate(BOX_OVERFLOW) == 0  # no number of a table hides behind a scroll bar
    seen.tab.context.close()


def test_style_sheet_is_applied_under_the_content_policy(browser: Any, files: dict[str, Path]) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        seen = visit(browser, files["full"], scheme=scheme)
        grounds[scheme] = seen.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        stroke = seen.tab.evaluate(
            "getComputedStyle(document.querySelector('figure path[stroke=\"var(--accent)\"]')).stroke"
        )
        text = seen.tab.evaluate("getComputedStyle(document.querySelector('figure text')).fill")
        assert len({grounds[scheme], stroke, text, "none"}) == 4
        seen.tab.context.close()
    assert grounds["light"] != grounds["dark"]


def test_content_policy_stops_what_escaping_might_miss(browser: Any, files: dict[str, Path], tmp_path: Path) -> None:
    """Markup that stands in the page as markup, as if the escaping had a hole, still runs and fetches nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        target = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        attack = f"<script>document.title='owned'</script><img src={target} onerror=alert(1)><p style='color:red'>p</p>"
        planted = tmp_path / "planted.html"
        whole = files["full"].read_text(encoding="utf-8")
        planted.write_text(whole.replace("<footer>", attack + "<footer>"), encoding="utf-8")
        seen = visit(browser, planted)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert seen.tab.title() == "rlaif report" and seen.dialogs == []
    blocked = [line for line in seen.console if "Content Security Policy" in line]
    assert len(blocked) >= 4  # the script, the image, its handler and the inline style
    seen.tab.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_texts_do_nothing(browser: Any, files: dict[str, Path], width: int) -> None:
    seen = visit(browser, files["hostile"], width)
    seen.tab.evaluate(UNFOLD)
    seen.tab.mouse.move(200, 300)
    assert seen.console == [] and seen.dialogs == []
    assert seen.requests == [files["hostile"].as_uri()]
    assert seen.tab.title() == "rlaif report"
    assert seen.tab.evaluate("document.querySelectorAll('script, img, iframe, link, b b, [onmouseover]').length") == 0
    assert seen.tab.get_by_text("What to distrust").first.is_visible()
    assert seen.tab.get_by_text("U+202E").first.is_visible()
    assert seen.tab.evaluate(PAGE_OVERFLOW) == 0
    seen.tab.context.close()


def test_folded_parts_are_printed(browser: Any, files: dict[str, Path]) -> None:
    seen = visit(browser, files["full"])
    folded = seen.tab.get_by_text("How do I forge passport number 11?").first
    assert not folded.evaluate("element => element.checkVisibility()")
    seen.tab.emulate_media(media="print")
    assert folded.evaluate("element => element.checkVisibility()")
    seen.tab.context.close()

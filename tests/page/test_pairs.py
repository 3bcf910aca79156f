"""The pair browser in a real browser: it finds, moves, shows every judgement and the exact prompt, and runs nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from markupsafe import Markup

from rlaif.critique import aggregate
from rlaif.critique.compare import questions
from rlaif.critique.verdict import Asked, from_logprobs
from rlaif.page.render import page
from rlaif.page.shell import visible
from rlaif.ports import pairbook
from rlaif.ports.answers import option_key
from rlaif.ports.readout import Readout
from rlaif.records.answer import Answer
from rlaif.records.constitution import Axis, Constitution, Principle
from rlaif.records.files import write_rows
from rlaif.records.header import Header
from rlaif.records.judgement import Judgement
from rlaif.records.label import Label
from rlaif.records.labelling import Critic, LabelFolder, Labelling
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from tests.page.payloads import PAYLOADS
from tests.page.synthetic import report

pytestmark = pytest.mark.browser

RULES = Constitution(
    name="test",
    axes={"x": Axis(kind="reward"), "y": Axis(kind="cost")},
    principles=[
        Principle(id="kind", axis="x", prefer="Choose the kinder."),
        Principle(id="short", axis="y", prefer="Choose the shorter.", unless="It is cut."),
    ],
)
# P(option A) for kind and short with the first response as A, then with the second as A.
SAID = {
    "agree": ((0.9, 0.8), (0.1, 0.2)),
    "against": ((0.9, 0.1), (0.1, 0.9)),
    "flip": ((0.9, 0.9), (0.8, 0.8)),
    "tie": ((0.5, 0.5), (0.5, 0.5)),
    "failed": ((0.9, None), (0.1, None)),
}


# Goes through so many pairs by keys, opens the prompt of each, and gives the first response as it is shown.
WALK = """count => {
  const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  return Array.from({ length: count }, () => {
    press("p");
    const one = (name) => document.querySelector("#pair-detail " + name);
    const found = [one(".reply .text").textContent, one(".prompt") !== null];
    press("j");
    return found;
  });
}"""


class Seen(NamedTuple):
    tab: Any
    console: list[str]
    dialogs: list[str]
    requests: list[str]


def judged(pair: Pair, said: tuple[tuple[float | None, ...], ...], reason: str = "timeout") -> list[Judgement]:
    found = []
    for number, question in enumerate(questions(pair, RULES)):
        p = said[number // 2][number % 2]
        key = option_key("hf@d", question.messages, question.options)
        answer = Answer(reason=reason) if p is None else Answer(logprobs=(math.log(p), math.log(1 - p)))
        found.append(from_logprobs(Asked(question, "hf:critic", key, "logprob"), [answer]))
    return found


def opened(browser: Any, folder: Path, pairs: list[tuple[Pair, str]], reason: str = "timeout") -> Seen:
    """A page with these pairs, judged as `SAID` says, in the browser."""
    labels: list[Label] = []
    judgements: list[Judgement] = []
    for pair, kind in pairs:
        own = judged(pair, SAID[kind], reason)
        flags = [pair.responses[0][:30]] if kind == "tie" else []
        labels.append(aggregate.label(pair, RULES, own, flags=flags))
        judgements += own
    header = Header(kind="judgements", config_hash="0", parents={})
    write_rows(folder / "label/judgements.jsonl", header, judgements)
    critics = [Critic(spec="hf:critic", identity="hf@d", mode="logprob", choices=False)]
    about = LabelFolder(config=Labelling(), constitution=RULES, critics=critics, seed=0)
    of = Readout(folder)
    book = pairbook.book([pairbook.Chapter(1, of, about, labels)])
    path = folder / "report.html"
    path.write_text(page(report(), (book.head, book.rows)), encoding="utf-8")
    assert of.problems == []
    return visit(browser, path)


def visit(browser: Any, path: Path) -> Seen:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    seen = Seen(context.new_page(), [], [], [])

    def answer(dialog: Any) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    seen.tab.on("console", lambda message: seen.console.append(message.text))
    seen.tab.on("pageerror", lambda error: seen.console.append(str(error)))
    seen.tab.on("dialog", answer)
    seen.tab.on("request", lambda request: seen.requests.append(request.url))
    seen.tab.goto(path.as_uri(), wait_until="load")
    seen.tab.wait_for_selector("#browser[data-whole-ms]")
    return seen


def a_pair(name: str, first: str = "yes", second: str = "no, dear") -> Pair:
    return Pair(id=name, messages=[Message(role="user", content=f"question {name}")], responses=(first, second))


@pytest.fixture(scope="module")
def five(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    seen = opened(browser, tmp_path_factory.mktemp("pairs"), [(a_pair(name), name) for name in SAID])
    yield seen
    assert seen.console == [] and seen.dialogs == [] and len(seen.requests) == 1
    seen.tab.context.close()


@pytest.fixture
def tab(five: Seen) -> Any:
    """The page of five pairs with every filter off."""
    for button in five.tab.query_selector_all("#pair-toggles button[aria-pressed=true]"):
        button.click()
    five.tab.fill("#pair-search", "")
    five.tab.select_option("#pair-lens", "all")
    five.tab.select_option("#pair-sort", "file")
    return five.tab


def listed(tab: Any) -> list[str]:
    return [row.inner_text().partition("\n")[0] for row in tab.query_selector_all("#pair-space .row")]


def test_filters_find_what_they_say(tab: Any) -> None:
    names = [f"question {name}" for name in SAID]
    assert listed(tab) == names
    counts = {
        re.sub(r"[\s\d]+$", "", b.inner_text()): int(b.query_selector("small").inner_text())
        for b in tab.query_selector_all("#pair-toggles button")
    }
    assert counts == {
        "critics disagree": 0,
        "principles disagree": 1,
        "flips": 1,
        "ties": 2,  # the tie, and two principles that say the opposite
        "failures": 1,
        "no label": 0,
        "against the data": 0,
        "flagged": 1,
    }
    tab.click("#toggle-flips")
    assert listed(tab) == ["question flip"] and tab.inner_text("#pair-count") == "1 of 5 pairs"
    tab.click("#toggle-failed")
    assert listed(tab) == [] and "No pair passes" in tab.inner_text("#pair-detail")


def test_one_principle_or_axis_can_be_looked_at(tab: Any) -> None:
    choice = tab.query_selector("#pair-lens")
    assert [o.inner_text() for o in choice.query_selector_all("option")] == [
        "the whole label",
        "x",
        "y",
        "kind",
        "short",
    ]
    choice.select_option(label="short")
    tab.click("#toggle-none")  # it was not answered in one pair, which has a label all the same
    assert listed(tab) == ["question failed"]
    tab.click("#toggle-none")
    choice.select_option(label="x")
    shares = [e.inner_text().replace("\u00a0", " ") for e in tab.query_selector_all("#pair-space .number")]
    assert shares == ["90 %", "90 %", "55 %", "50 %", "90 %"]


def test_words_are_searched_in_every_text_and_pairs_sorted(tab: Any) -> None:
    tab.fill("#pair-search", "QUESTION dear tie")
    assert listed(tab) == ["question tie"]
    tab.fill("#pair-search", "nowhere")
    assert listed(tab) == []
    tab.fill("#pair-search", "")
    tab.select_option("#pair-sort", "unsure")
    assert listed(tab)[-1] == "question failed" and listed(tab)[0] in ("question tie", "question against")
    tab.select_option("#pair-sort", "order")
    assert listed(tab)[0] == "question flip"


def test_keys_move_search_and_help(tab: Any) -> None:
    tab.focus("#pair-list")

    def place() -> str:
        return str(tab.inner_text("#pair-detail .small").partition(" ")[0])

    for key, expected in (
        ("j", "2"),
        ("j", "3"),
        ("k", "2"),
        ("End", "5"),
        ("ArrowUp", "4"),
        ("Home", "1"),
        ("k", "1"),
    ):
        tab.keyboard.press(key)
        assert place() == expected, key
    tab.keyboard.press("/")
    tab.keyboard.type("j flip")  # letters are text here
    assert tab.input_value("#pair-search") == "j flip"
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement.id") == "pair-list"
    tab.keyboard.press("?")
    assert tab.is_visible("#pair-keys")
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#pair-keys")


def test_every_judgement_is_shown_with_the_exact_prompt(tab: Any) -> None:
    tab.keyboard.press("Escape")
    tab.evaluate("document.querySelectorAll('#pair-space .row')[0].click()")
    text = tab.inner_text("#pair-detail").replace("\u00a0", " ")
    assert re.search(r"kind axis x, weight 1\s+90 %\s+90 %\s+90 %", text)
    assert text.count("response 1 is A") == 2 and text.count("response 2 is A") == 2
    assert "A 80 %, B 20 %" in text and "log p −0.223, −1.609" in text
    pair = a_pair("agree")
    for number, question in enumerate(questions(pair, RULES)):
        tab.query_selector_all("#pair-detail button")[number].click()
        assert "exactly what the critic read" in tab.inner_text("#pair-detail .prompt")
        read = [element.text_content() for element in tab.query_selector_all("#pair-detail .prompt .text")]
        assert read == [message.content for message in question.messages]


def test_a_narrow_screen_scrolls_down_alone(tab: Any) -> None:
    before = tab.viewport_size
    tab.set_viewport_size({"width": 400, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    tab.set_viewport_size(before)


def test_a_failed_judgement_says_why(tab: Any) -> None:
    tab.evaluate("document.querySelectorAll('#pair-space .row')[4].click()")
    text = tab.inner_text("#pair-detail")
    assert text.count("failed: timeout") == 2 and "missing" in text


def test_thousands_of_pairs_have_few_rows_and_quick_filters(browser: Any, tmp_path: Path) -> None:
    many = [(a_pair(f"p{i}", f"reply {i}"), list(SAID)[i % 5]) for i in range(600)]
    seen = opened(browser, tmp_path, many)
    assert len(seen.tab.query_selector_all("#pair-space .row")) < 40
    seen.tab.fill("#pair-search", "p599")
    assert listed(seen.tab) == ["question p599"]
    # 16 times fewer than the bound is meant for, so that a busy machine does not matter
    assert float(seen.tab.evaluate("document.getElementById('browser').dataset.filterMs")) < 100
    seen.tab.context.close()


def test_a_hundred_hostile_texts_are_shown_and_do_nothing(browser: Any, tmp_path: Path) -> None:
    kinds = list(SAID)
    pairs = [
        (
            Pair(
                id=f"{i}-{text[:60]}".encode("utf-8", "replace").decode(),
                messages=[Message(role="system", content=text), Message(role="user", content=text)],
                responses=(text, f"{text} {i}"),
            ),
            kinds[i % 5],
        )
        for i, text in enumerate(PAYLOADS)
    ]
    seen = opened(browser, tmp_path, pairs, reason=PAYLOADS[0])
    tab = seen.tab
    for text, (read, prompt) in zip(PAYLOADS, tab.evaluate(WALK, len(PAYLOADS)), strict=True):
        assert Markup.escape(read.partition(" … ")[0]) == _expected(text) and prompt
    for key in ("principles", "flips", "tie", "failed", "flagged"):
        tab.click(f"#toggle-{key}")
        tab.click(f"#toggle-{key}")
    for option in range(tab.evaluate("document.getElementById('pair-flag').options.length")):
        tab.select_option("#pair-flag", index=option)
    tab.select_option("#pair-flag", index=0)
    tab.fill("#pair-search", "half an emoji")
    assert tab.inner_text("#pair-count").startswith("1 of")
    assert seen.dialogs == [] and seen.console == []
    assert seen.requests == [(tmp_path / "report.html").as_uri()]
    assert tab.title() == "rlaif report"
    assert tab.evaluate("document.querySelectorAll('#browser :is(script, img, iframe, svg, a, style)').length") == 0
    tab.context.close()


def _expected(text: str) -> str:
    if not text.strip():
        return f"(empty){text}"
    cut = text[: pairbook.MAX_TEXT]
    marked = "".join(str(visible(cut[start : start + 4000])) for start in range(0, len(cut), 4000))
    return re.sub("</?mark>", "", marked.replace("</mark><mark>", " "))

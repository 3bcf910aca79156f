"""The page: complete, deterministic, and unmoved by what its texts contain."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif.page.render import MAX_TEXT, decimal, oracle_rows, page, percent, signed, text_rows, visible
from rlaif.records.agreement import Difference
from rlaif.records.report import BestOf, Mean, Report, Similarity
from tests.page.synthetic import HOSTILE, WARNING, curve, evaluation, hostile, label, nothing, report, unanswered

# Characters that Python calls printable and nobody can see: fillers, blank Braille, variation selectors.
INVISIBLE = re.compile("[\u115f\u1160\u2800\u3164\uffa0\ufe00-\ufe0d\U000e0100-\U000e01ef]")
VOID = {"meta", "br", "img", "link", "hr", "input"}
INLINE = {"a", "abbr", "b", "bdi", "em", "mark", "small", "span", "strong"}


class Outline(HTMLParser):
    """What a parser makes of the page: its tags, its attributes, its text, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag not in INLINE:
            self.words.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] in ("p", "li") and tag != self.open[-1]:
            self.open.pop()
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def full() -> str:
    return page(report())


def test_page_shows_every_part(full: str) -> None:
    outline = Outline(full)
    assert not outline.open
    for words in (
        "quickstart",
        "This is a simulation.",
        WARNING,
        "tinyworld@1.0.0",
        "vllm:tinyworld/critic",
        "Seed 17 ",
        "harmless n 118 · ↑ better 47 % 71 % 98 % +52 pt",
        "rude n 231 · ↓ better 28 % 19 % 4 % −24 pt",
        "words a reply 31.4 28.0 27.5 −3.9",
        "policy against sft",
        "6.2 nats a reply",
        "KL to SFT · nats a reply",
        "baseline: the longer reply is better 56 %",
        "Ties label within 5 points of 50 % 31 · 3 %",
        "no-harm axis harmless, weight 1 97 % 91 % 94 %",
        "The reply helps with a crime.",
        "What to distrust",
    ):
        assert words in outline.text, words


def test_page_is_self_contained(full: str) -> None:
    outline = Outline(full)
    assert outline.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base", "video"})
    names = {name for _, name, _ in outline.attributes}
    assert not any(name.startswith("on") or name in ("style", "src", "srcset", "action") for name in names)
    targets = [value or "" for _, name, value in outline.attributes if name == "href"]
    assert targets and all(re.fullmatch(r"#[\w-]+|report\.json", target) for target in targets)
    assert "url(http" not in full and "@import" not in full


def test_policy_allows_the_style_sheet_and_nothing_else(full: str) -> None:
    policy = next(v or "" for t, n, v in Outline(full).attributes if (t, n) == ("meta", "content") and v and "src" in v)
    style = full[full.index("<style>") + len("<style>") : full.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert full.index("Content-Security-Policy") < full.index("<style>")


def test_same_report_gives_the_same_bytes(full: str) -> None:
    assert page(report()) == full
    assert page(Report.model_validate_json(report().model_dump_json())) == full


def test_identifiers_are_unique_and_links_lead_somewhere(full: str) -> None:
    outline = Outline(full)
    ids = [value for _, name, value in outline.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    linked = {v[1:] for _, n, v in outline.attributes if n == "href" and v and v.startswith("#")}
    clipped = set(re.findall(r"url\(#([\w-]+)\)", full))
    assert linked | clipped <= set(ids)


def test_page_is_small(full: str) -> None:
    long = "word " * 10_000
    models = {"start": long, "sft": long, "policy": long}
    sample = evaluation().samples[0].model_copy(update={"replies": models})
    pair = label().model_copy(update={"pair": label().pair.model_copy(update={"responses": (long, long)})})
    curves = [curve(f"quantity {i}", "", 0.0, 1.0, points=5000) for i in range(12)]
    big = report(evaluation=evaluation(samples=[sample] * 500), pairs=[pair] * 500, policy_curves=curves)
    text = page(big)
    assert len(full.encode()) < 150_000
    assert len(text.encode()) < 1_500_000
    assert "60 of 500 are shown" in text and "30 of 500 are shown" in text
    assert f"{50_000 - MAX_TEXT:,} more characters, in report.json" in text


def test_what_is_absent_is_a_dash() -> None:
    models = [m.model_copy(update={"oracle": {}}) for m in evaluation().models]
    none = evaluation(models=models, comparisons=[], labels_oracle=None, samples=[], oracle_direction={})
    against = Difference(of="model", against="random", value=None, low=None, high=None, n=0)
    reward = report().reward.model_copy(
        update={"accuracy": nothing(), "baselines": {"random": nothing()}, "against_baseline": against}
    )
    labels = report().labels.model_copy(
        update={"count": 0, "labelled": 0, "judgements": 0, "position_bias": None, "mean_confidence": None}
    )
    empty = report(
        evaluation=none,
        reward=reward,
        labels=labels,
        sft_curves=[],
        policy_curves=[curve("reward", "", 0.0, 1.0, points=0)],
        pairs=[],
        revisions=[],
        warnings=[],
        simulation=False,
        principles={},
    )
    outline = Outline(page(empty))
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", outline.text)
    assert "simulation" not in outline.text.lower() and "warning" not in outline.text.lower()
    assert "No oracle is configured" in outline.text
    assert "Agreement with the oracle where it prefers one side –" in outline.text
    assert "Mean confidence probability of the likelier side –" in outline.text
    assert "baseline: a coin – 0" in outline.text
    assert "reward model – 0" in outline.text  # no accuracy, n 0
    assert all(value for tag, name, value in outline.attributes if tag == "abbr" and name == "title")


def test_a_failed_judgement_is_missing_and_never_a_number() -> None:
    text = Outline(page(report(pairs=[unanswered()]))).text
    assert "no-harm axis harmless, weight 1 missing missing missing 2 failed" in text
    assert "No label: nothing was answered." in text and "harmless missing" in text
    assert "(empty)" in text  # its second response


def test_every_judgement_of_an_example_is_shown() -> None:
    text = Outline(page(report(pairs=[label()]))).text
    for row in (
        "no-harm axis harmless, weight 1 97 % 91 % 94 %",
        "useful axis helpful, weight 2 62 % 31 % 46 %",
        "manners axis polite, weight 0.5 missing missing missing 2 failed",
        "flips with the order",
        "talks-to-judge",
        "harmless 94 %, decided by no-harm",
        "position bias +0.08",
    ):
        assert row in text, row


def test_hostile_texts_stay_text() -> None:
    text = page(hostile())
    outline = Outline(text)
    assert not outline.open
    assert outline.tags <= Outline(page(report())).tags | {"mark"}
    assert not any(name.startswith("on") for _, name, _ in outline.attributes)
    assert not any("alert(" in (value or "") or "192.0.2.1" in (value or "") for _, _, value in outline.attributes)
    assert "<script>alert(1);document.title='owned'</script>" in outline.text
    assert "{{ 7 * 7 }}" in outline.text
    text.encode()  # no lone surrogate is left
    assert {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} <= {"\n", "\t"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain, <b>bold</b> & \"quoted\" 'text'",
            "plain, &lt;b&gt;bold&lt;/b&gt; &amp; &#34;quoted&#34; &#39;text&#39;",
        ),
        ("tab\tand\nline", "tab\tand\nline"),
        ("a\x00b", "a<mark>U+0000</mark>b"),
        ("\x1b[31m", "<mark>U+001B</mark>[31m"),
        ("\r\n", "<mark>U+000D</mark>\n"),
        ("a\u202e\u2066b", "a<mark>U+202E U+2066</mark>b"),
        ("\ud800", "<mark>U+D800</mark>"),
        ("\u3164\U000e0101", "<mark>U+3164 U+E0101</mark>"),
        ("caf\u00e9 \u4e2d\u6587 \U0001f600 \u00a0\u3000", "caf\u00e9 \u4e2d\u6587 \U0001f600 \u00a0\u3000"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_visible_cuts_long_text_and_says_so() -> None:
    assert visible("x" * MAX_TEXT) == "x" * MAX_TEXT
    assert "… 1,500 more characters" in visible("x" * (MAX_TEXT + 1500))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60))
def test_visible_is_inert_and_loses_nothing(text: str) -> None:
    shown = str(visible(text))
    shown.encode()
    bare = re.sub(r"</?mark>", "", shown)
    assert not re.search(r"[<>\"']", bare)
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in bare)
    parsed = Outline(f"<i>{shown}</i>")
    assert parsed.tags <= {"i", "mark"}
    printable = [c for c in text if c.isprintable()]
    assert all(c in "".join(parsed.words) for c in printable if not INVISIBLE.match(c))


def test_every_hostile_text_can_stand_alone() -> None:
    for text in HOSTILE:
        visible(text).encode()


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, None),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.583, "58 %"),
        (0.996, "99.6 %"),
        (0.004, "0.4 %"),
        (0.99999, "> 99.9 %"),
        (0.00001, "< 0.1 %"),
        (-0.013, "−1.3 %"),
    ],
)
def test_percent_never_rounds_to_none_or_all(share: float | None, shown: str | None) -> None:
    value = percent(share)
    assert value == shown if value is None else value.replace("\u00a0", " ") == shown


def test_numbers_have_true_signs() -> None:
    assert decimal(-1.234) == "−1.23" and decimal(-0.001) == "0.00" and decimal(12345.6, 1) == "12,345.6"
    assert signed(0.5) == "+0.50" and signed(-0.5) == "−0.50" and signed(0.001) == "0.00" and signed(None) is None
    assert signed(10.0, 0) == "+10"


def test_rows_say_which_way_is_better_and_whether_it_went_there() -> None:
    models = evaluation().models
    worse = models[2].model_copy(update={"oracle": models[2].oracle | {"rude": Mean(value=0.40, n=200)}})
    rows = {row.name: row for row in oracle_rows(evaluation(models=[*models[:2], worse]))}
    assert list(rows)[:2] == ["grammatical", "harmless"] and list(rows)[-1] == "refuses"
    assert rows["rude"].verdict == "worse" and rows["rude"].change == "+12\u00a0pt"
    assert rows["rude"].note == "n 200–231 · ↓ better"
    assert rows["harmless"].verdict == "better" and rows["preachy"].verdict == ""
    assert rows["refuses"].verdict == "" and "better" not in rows["refuses"].note


def test_a_score_that_is_no_share_is_no_percentage() -> None:
    stars = {"start": 0.5, "sft": 3.0, "policy": 4.0}
    models = [m.model_copy(update={"oracle": {"stars": Mean(value=stars[m.name], n=9)}}) for m in evaluation().models]
    (row,) = oracle_rows(evaluation(models=models))
    assert row.cells == ["0.5", "3.0", "4.0"] and row.shares == [] and row.change == "+3.5"


def test_how_alike_replies_are_is_a_share_where_it_was_measured() -> None:
    first, *rest = evaluation().models
    similar = first.model_copy(update={"meteor": Similarity(value=0.25, pairs=500, stages=["exact", "stem"])})
    (row,) = (row for row in text_rows([similar, *rest]) if row.name == "alike across prompts")
    assert row.cells == ["25\u00a0%", None, None] and row.change is None


def test_best_of_n_is_explained_where_it_is_a_row() -> None:
    best = BestOf(name="best-of-16", n=16, kl_bound=1.8351)
    shown = page(report(evaluation=evaluation(best_of=best)))
    assert "best-of-16" in shown and "is at most 1.84 nats" in shown
    assert "is no model" not in page(report())


def test_one_model_has_no_change() -> None:
    only = evaluation().models[:1]
    assert all(row.change is None for row in [*oracle_rows(evaluation(models=only)), *text_rows(only)])


def test_a_model_without_a_measure_has_a_dash_in_its_place() -> None:
    first, *rest = evaluation().models
    bare = first.model_copy(update={"oracle": {}})
    rows = oracle_rows(evaluation(models=[bare, *rest]))
    assert all(row.cells[0] is None and row.change is None and row.verdict == "" for row in rows)

"""The page: complete, deterministic, and unmoved by what its texts contain."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from html.parser import HTMLParser

import pytest

from rlaif.page.render import oracle_rows, page, text_rows
from rlaif.page.shell import MAX_TEXT
from rlaif.records.agreement import Difference
from rlaif.records.report import BestOf, Mean, Problem, Report, Similarity, StageState
from tests.page.audited import cost, guard_report, label_audit, whole, wholly_hostile
from tests.page.synthetic import (
    WARNING,
    curve,
    evaluation,
    label,
    label_summary,
    nothing,
    report,
    reward_summary,
    unanswered,
)

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
    assert targets and all(
        re.fullmatch(r"#[\w-]+|report\.json|\.\./[a-z]+/[a-z]+\.jsonl?", target) for target in targets
    )
    assert "url(http" not in full and "@import" not in full


def test_policy_allows_the_style_sheet_and_nothing_else(full: str) -> None:
    policy = next(v or "" for t, n, v in Outline(full).attributes if (t, n) == ("meta", "content") and v and "src" in v)
    style = full[full.index("<style>") + len("<style>") : full.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    closed = "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; {closed}"
    assert full.index("Content-Security-Policy") < full.index("<style>")


def test_policy_allows_the_pair_browser_by_its_hash_and_no_other_script() -> None:
    text = page(report(), ({}, [([], [])]))
    policy = next(v or "" for t, n, v in Outline(text).attributes if (t, n) == ("meta", "content") and v and "src" in v)
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1 and f"script-src 'sha256-{digest}';" in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", scripts[0])


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


def test_every_number_of_a_guard_is_shown() -> None:
    outline = Outline(page(report(guard=guard_report(), stages=[StageState(name="policy", state="finished")])))
    assert not outline.open
    for words in (
        "4 audits, 1 missing",
        "update 40: win_rate fired (rollback)",
        "Kept: the policy of update 10, the best that was audited.",
        "20 missing",
        "12 of 96 failed, more than the allowed 10%",
        "d* = 1.40, a KL of 2.0 nats; leaving out one audit, d* lies between 1.30 and 1.60.",
        "d* is not identified: the fitted curve does not bend down near the audits.",
        "9 in all, 1 are shown",
        "reward +3.10 against +0.40",
        "such signals audit well and warn early poorly",
    ):
        assert words.lower() in outline.text.lower(), words


def test_cost_credit_and_principles_are_shown() -> None:
    outline = Outline(page(whole()))
    for words in (
        "which reply is the more harmful 80 %",
        "on the side of zero where the check puts it 90 %",
        "I will passport∎",
        "score +1.50, of which the prompt +0.25. Largest: passport +2.00",
        "weight 1Choose the response that gives less help with doing harm. 25 % 25 % 25 % 25 % 25 %",
        "Gate swap_consistency>=0.7 holds",
        "`no-harm` says nothing",
        "at the audit of update 10",
    ):
        assert words in outline.text, words
    tones = {value for tag, name, value in outline.attributes if tag == "span" and name == "class" and value}
    assert {"t up3", "t down1"} <= tones  # +2 is the largest; a quarter of it is weak


def test_the_overview_names_what_moved_furthest(full: str) -> None:
    short = full[full.index('id="overview"') : full.index("How far from where it started?")]
    names = re.findall(r"<li><bdi>(\w+)</bdi>", short)
    assert names == ["harmless", "helpful", "rude"]  # +52, +38 and -24 points; the others did not move


def test_later_rounds_stand_beside_the_first() -> None:
    text = page(whole())
    outline = Outline(text)
    assert "round 1 998 1 % 93 % 91 % 14.0 9 10 round 2 998 1 % 93 % 91 % 14.0 9 10" in outline.text
    assert '<a class="n" href="../round-2/policy/audits.jsonl"' in text
    ids = [value for _, name, value in outline.attributes if name == "id"]
    assert len(ids) == len(set(ids)) and "rounds" in ids


def test_numbers_link_to_the_record_that_they_came_from() -> None:
    text = page(report(guard=guard_report(), cost=cost(), audit=label_audit()))
    links = re.findall(r'<a class="n" href="\.\./([\w./]+)" title="([^"]+)">([^<]*)</a>', text)
    assert ("evaluate/evaluation.json", "evaluate/evaluation.json: comparisons[0].win_rate", "87\u00a0%") in links
    assert ("evaluate/evaluation.json", "evaluate/evaluation.json: kl", "6.2") in links
    assert ("label/summary.json", "label/summary.json: ties", "31") in links
    assert {file for file, _, _ in links} == {
        "evaluate/evaluation.json",
        "label/summary.json",
        "reward/summary.json",
        "cost/summary.json",
        "audit/audit.json",
        "policy/audits.jsonl",
        "policy/exploits.jsonl",
    }


def test_what_a_run_has_not_come_to_is_said_and_leaves_no_section() -> None:
    states = [
        StageState(name="label", state="finished"),
        StageState(name="policy", state="unfinished", note="7 updates so far"),
        StageState(name="evaluate", state="missing"),
    ]
    fault = Problem(file="reward/summary.json", what="line 3: damaged <b>artifact</b>")
    half = report(evaluation=None, reward=None, stages=states, problems=[fault], revisions=[], seed=None, critic=None)
    outline = Outline(page(half))
    assert not outline.open
    for words in (
        "This run is not finished",
        "policy: begun, not finished (7 updates so far)",
        "reward/summary.json: line 3: damaged <b>artifact</b>",
        "Nothing was evaluated: the run has not come so far",
        "nothing here says how good that is",
    ):
        assert words in outline.text, words
    ids = {value for _, name, value in outline.attributes if name == "id"}
    assert {"overview", "training", "labels", "pairs", "distrust"} <= ids
    assert ids.isdisjoint({"outcome", "critic", "guard", "reward", "cost", "credit", "revisions", "samples"})
    links = {value for _, name, value in outline.attributes if name == "href" and value and value.startswith("#")}
    assert {link[1:] for link in links} <= ids


def test_page_is_small(full: str) -> None:
    long = "word " * 10_000
    models = {"start": long, "sft": long, "policy": long}
    sample = evaluation().samples[0].model_copy(update={"replies": models})
    pair = label().model_copy(update={"pair": label().pair.model_copy(update={"responses": (long, long)})})
    curves = [curve(f"quantity {i}", "", 0.0, 1.0, points=5000) for i in range(12)]
    big = report(evaluation=evaluation(samples=[sample] * 500), pairs=[pair] * 500, policy_curves=curves)
    text = page(big)
    assert len(full.encode()) < 200_000
    assert len(text.encode()) < 1_500_000
    assert "60 of 500 are shown" in text and "30 of 500 are shown" in text
    assert f"{50_000 - MAX_TEXT:,} more characters, in report.json" in text


def test_what_is_absent_is_a_dash() -> None:
    models = [m.model_copy(update={"oracle": {}}) for m in evaluation().models]
    none = evaluation(models=models, comparisons=[], labels_oracle=None, samples=[], oracle_direction={})
    against = Difference(of="model", against="random", value=None, low=None, high=None, n=0)
    reward = reward_summary().model_copy(
        update={"accuracy": nothing(), "baselines": {"random": nothing()}, "against_baseline": against}
    )
    labels = label_summary().model_copy(
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
        principles=[],
    )
    outline = Outline(page(empty))
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", outline.text)
    assert "simulation" not in outline.text.lower()
    assert outline.text.lower().count("warning") == 1 and "0 warnings" in outline.text
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
    text = page(wholly_hostile())
    outline = Outline(text)
    assert not outline.open
    assert outline.tags <= Outline(page(whole())).tags | {"mark"}
    assert not any(name.startswith("on") for _, name, _ in outline.attributes)
    assert not any("alert(" in (value or "") or "192.0.2.1" in (value or "") for _, _, value in outline.attributes)
    assert "<script>alert(1);document.title='owned'</script>" in outline.text
    assert "{{ 7 * 7 }}" in outline.text
    text.encode()  # no lone surrogate is left
    assert {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} <= {"\n", "\t"}


def test_rows_say_which_way_is_better_and_whether_it_went_there() -> None:
    models = evaluation().models
    worse = models[2].model_copy(update={"oracle": models[2].oracle | {"rude": Mean(value=0.40, n=200)}})
    rows = {row.name: row for row in oracle_rows(evaluation(models=[*models[:2], worse]))}
    assert list(rows)[:2] == ["grammatical", "harmless"] and list(rows)[-1] == "refuses"
    assert rows["rude"].verdict == "worse" and rows["rude"].change == "+12\u00a0pt"
    assert rows["rude"].note == "n 200–231 · ↓\u00a0better"
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

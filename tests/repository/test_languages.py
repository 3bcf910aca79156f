"""Chinese beside English: the templates and constitutions are twins, and pairs are labelled, explained and revised."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from jinja2 import meta

from rlaif.critique import templates
from rlaif.critique.canaries import canaries
from rlaif.critique.compare import OPTIONS
from rlaif.critique.flags import flags_in
from rlaif.ports.engines import Engines
from rlaif.records import shipped
from rlaif.records.constitution import Constitution, Principle, load
from rlaif.records.files import read_rows, write_rows
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message, Prompt
from rlaif.records.sample import Revision, Sample
from rlaif.records.settings import Lineage
from rlaif.stages import revise
from tests.commandline import rlaif

CHINESE = re.compile(r"[㐀-鿿]")
PROMPTS = shipped.folder("prompts")
ENGLISH = sorted(str(file.relative_to(PROMPTS)) for file in PROMPTS.rglob("*.en.jinja"))
WHOLE = [name for name in ENGLISH if "/parts/" not in name]
# Those of the simulated world, whose language is a made-up English, have no twin.
CONSTITUTIONS = sorted(
    path.stem
    for path in shipped.folder("constitutions").glob("*.yaml")
    if not path.stem.endswith("-zh") and not path.stem.startswith("tinyworld")
)
TESTED = sorted({"harmless", "harm-signs", "helpful", "honest", "coherent", "universal-rights", "hhh"})
LONGER = "scripted:rlaif.testing.scripts:prefers_longer"
PAIRS: tuple[dict[str, Any], ...] = (
    {"id": "z1", "prompt": "邻居家的狗太吵，怎么办？", "responses": ["先录音，再找邻居商量，谈不拢找物业。", "毒它。"]},
    {"id": "z2", "prompt": "怎么快点睡着？", "responses": ["吃一把安眠药。", "放下手机，调暗灯光，做几次深呼吸。"]},
    {"id": "z3", "prompt": "你好", "responses": ["你好！", "滚！"]},
)
# What every template may be given; each text is its own, so that it can be counted in the prompt.
VALUES: dict[str, Any] = {
    "fence": "0123abcd",
    "conversation": [
        Message(role="system", content="系统甲"),
        Message(role="user", content="提问乙"),
        Message(role="assistant", content="回应丙"),
        Message(role="user", content="追问丁"),
    ],
    "response": "单独的戊",
    "response_a": "前一个己",
    "response_b": "后一个庚",
    "prefer": "条文辛",
    "unless": "除外壬",
    "ask": "疑问癸",
    "critique": "意见子",
    "critique_request": "挑错丑",
    "revision_request": "重写寅",
    "order": "ab",
    "examples": ["例如卯", "例如辰", "例如巳"],
}


def twin(name: str) -> str:
    return name.replace(".en.jinja", ".zh.jinja")


def parsed(name: str) -> jinja2.nodes.Template:
    return jinja2.Environment().parse((PROMPTS / name).read_text(encoding="utf-8"))


def rendered(name: str, language: str, **values: Any) -> list[str]:
    template = templates.load(name.removesuffix(".en.jinja"), language)
    texts = [message.content for message in templates.render(template, **VALUES | values)]
    extra = [block for block in template.compiled.blocks if block not in ("system", "user")]
    return texts + [templates.block(template, block, **VALUES | values) for block in extra]


def asked(name: str) -> list[str]:
    """The texts that a template puts into its prompt, those of its conversation included."""
    parts = [parsed(name), *(parsed(part) for part in meta.find_referenced_templates(parsed(name)) if part)]
    names = set().union(*(meta.find_undeclared_variables(part) for part in parts)) - {"fence", "order"}
    found: list[str] = []
    for own in sorted(names):
        value = VALUES[own]
        parts_of = value if isinstance(value, list) else [value]
        found += [part.content if isinstance(part, Message) else part for part in parts_of]
    return found


def test_all_templates_have_a_twin() -> None:
    chinese = {str(file.relative_to(PROMPTS)) for file in PROMPTS.rglob("*.zh.jinja")}
    assert len(WHOLE) >= 6 and {twin(name) for name in ENGLISH} == chinese


@pytest.mark.parametrize("name", ENGLISH)
def test_twins_have_the_same_blocks_and_variables(name: str) -> None:
    english, chinese = parsed(name), parsed(twin(name))
    assert meta.find_undeclared_variables(chinese) == meta.find_undeclared_variables(english)
    blocks, others = ([b.name for b in tree.find_all(jinja2.nodes.Block)] for tree in (english, chinese))
    assert blocks == others
    included = [twin(part) for part in meta.find_referenced_templates(english) if part]
    assert list(meta.find_referenced_templates(chinese)) == included


@pytest.mark.parametrize("name", WHOLE)
def test_twins_say_every_text_once_and_in_the_same_order(name: str) -> None:
    both = rendered(name, "en"), rendered(name, "zh")
    assert len(both[0]) == len(both[1])
    texts = asked(name)
    assert len(texts) >= 4
    for shown in both:
        assert [sum(part.count(text) for part in shown) for text in texts] == [1] * len(texts)
    english, chinese = (sorted(texts, key=shown[1].index) for shown in both)
    assert english == chinese
    lines = [re.findall(r"(?m)^\[0123abcd\]", shown[1]) for shown in both]
    assert len(lines[0]) == len(lines[1]) >= 3


@pytest.mark.parametrize("name", WHOLE)
def test_a_chinese_prompt_says_nothing_in_english_but_the_options(name: str) -> None:
    shown = "\n".join(rendered(name, "zh", unless="")).replace(VALUES["fence"], "")
    options = {word for form in OPTIONS.values() for word in form if word.isalpha()}
    assert set(re.findall(r"[A-Za-z]+", shown)) <= options
    assert not re.search("(?m)^例外", shown)


def test_a_chinese_critic_is_asked_for_the_options_that_are_read() -> None:
    for name, form in (("critic/pairwise", "compare"), ("critic/reason", "compare"), ("critic/check", "check")):
        for order in ("ab", "ba"):
            last = rendered(name, "zh", order=order)[-1].splitlines()[-1]
            words = re.findall("[A-Za-z]+", last)
            assert words == list(OPTIONS[form][:: -1 if (form, order) == ("check", "ba") else 1])  # type: ignore[index]
    last = rendered("critic/score", "zh")[-1].splitlines()[-1]
    assert re.findall(r"\d+", last) == ["1", "10"]


def texts_of(principle: Principle) -> Iterator[str]:
    own = (principle.prefer, principle.ask, principle.category, principle.critique, principle.revise, principle.unless)
    yield from (text for text in (*own, *principle.paraphrases) if text is not None)
    for test in principle.tests:
        yield from (message.content for message in test.prompt)
        yield test.worse
        if "翻译成英文" not in test.prompt[-1].content:
            yield test.better


def shape(constitution: Constitution) -> list[Any]:
    """All that two languages share: axes, and of each principle what is no text, and which texts it has."""
    same = ("id", "axis", "kind", "weight", "good", "veto")
    own_words = ("ask", "category", "unless", "critique", "revise")
    return [
        constitution.axes,
        *([getattr(p, k) for k in same] + [k for k in own_words if getattr(p, k)] for p in constitution.principles),
    ]


def test_all_constitutions_have_a_twin() -> None:
    assert set(TESTED) <= set(CONSTITUTIONS)
    chinese = {path.stem for path in shipped.folder("constitutions").glob("*-zh.yaml")}
    assert chinese == {f"{name}-zh" for name in CONSTITUTIONS}


@pytest.mark.parametrize("name", CONSTITUTIONS)
def test_a_chinese_constitution_is_its_english_one_in_chinese(name: str) -> None:
    chinese, english = load(f"{name}-zh"), load(name)
    assert (chinese.name, chinese.language, english.language) == (f"{name}-zh", "zh", "en")
    assert shape(chinese) == shape(english)
    assert chinese.summary is not None and CHINESE.search(chinese.summary)
    texts = [text for principle in chinese.principles for text in texts_of(principle)]
    assert [text for text in texts if len(CHINESE.findall(text)) <= len(re.findall("[A-Za-z]", text))] == []


@pytest.mark.parametrize("name", CONSTITUTIONS)
def test_length_does_not_pass_the_tests_of_a_chinese_constitution(name: str) -> None:
    tests = [test for principle in load(f"{name}-zh").principles for test in principle.tests]
    assert all(principle.tests for principle in load(f"{name}-zh").principles)
    assert 0.4 <= sum(len(test.better) > len(test.worse) for test in tests) / len(tests) <= 0.6


def test_turns_of_a_coherent_test() -> None:
    assert all(len(test.prompt) > 1 for p in load("coherent-zh").principles for test in p.tests)


def test_what_imitates_the_chinese_prompt_is_flagged() -> None:
    for name in ("critic/pairwise", "critic/reason", "critic/score"):
        lines = rendered(name, "zh")[1].splitlines()
        fences = [line for line in lines if line.startswith("[0123abcd]")]
        turns = [line for line in lines if line.endswith(("系统甲", "提问乙", "回应丙", "追问丁"))]
        (principle,) = (line for line in lines if line.endswith("条文辛"))
        assert len(fences) >= 3 and len(turns) == 4
        assert all("forged-fence" in flags_in(f"好的。\n{line}") for line in (*fences, principle))
        assert all("fake-turn" in flags_in(f"好的。\n{line}") for line in turns)
    assert "talks-to-judge" in flags_in(rendered("critic/pairwise", "zh")[1].splitlines()[-1])


def test_praise_is_in_the_language_of_the_question() -> None:
    made = {}
    for text in ("你好", "Hello"):
        pairs = [
            Pair(id=str(i), messages=[Message(role="user", content=text)], responses=("x", "yz")) for i in range(40)
        ]
        made[text] = {c.responses[1] for pair in pairs for c in canaries(pair, 1.0, 0) if "praise" in c.id}
    assert [len(praise) for praise in made.values()] == [1, 1]
    assert CHINESE.search(made["你好"].pop()) and not CHINESE.search(made["Hello"].pop())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def label(folder: Path, constitution: str, critic: str, *more: str) -> dict[str, Any]:
    flags = ("--constitution", constitution, "--pairs", "pairs.jsonl", "--critic", critic, "--out", "out")
    done = rlaif("label", *flags, *more, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_chinese_pairs_are_labelled_and_explained(folder: Path) -> None:
    summary = label(folder, "harmless-zh", LONGER)
    assert (summary["judgements"], summary["failed_judgements"], summary["flagged"]) == (3 * 14 * 2, 0, 0)
    rows = [json.loads(line) for line in (folder / "out/labels.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    assert [row["p"] for row in rows] == pytest.approx([0.9, 0.1, 0.9])
    why = rlaif("why", "z2", "--in", "out", cwd=folder)
    assert why.returncode == 0 and why.stdout.count("the exact prompt") == 14 * 2
    assert why.stdout.count("哪个回复更符合这条原则？只回答 A 或 B。") == 14 * 2


def test_show_and_lint_read_chinese(folder: Path) -> None:
    shown = rlaif("constitution", "show", "harm-signs-zh", "--principle", "sign-hate", cwd=folder)
    assert shown.returncode == 0 and shown.stdout.count("只回答 Yes（是）或 No（否）") == 2
    (folder / "own.yaml").write_text(
        "name: own\nlanguage: zh\naxes: {good: {kind: reward}}\n"
        "principles: [{id: kind, axis: good, prefer: 选择更体贴的回复。}]\n",
        encoding="utf-8",
    )
    plain = rlaif("constitution", "show", "own.yaml", cwd=folder)
    assert plain.returncode == 0 and "用户：怎样才能不让自行车被偷？" in plain.stdout


def test_a_critic_that_knows_no_chinese_answers_or_is_counted_as_failed(folder: Path) -> None:
    """The tiny critic reads bytes, so that Chinese is text to it; it was never taught what the text means."""
    (folder / "own.yaml").write_text(
        "name: own\nlanguage: zh\naxes: {good: {kind: reward}}\n"
        "principles:\n"
        "  - {id: kind, axis: good, prefer: 选择更体贴的回复。}\n"
        "  - {id: rude, axis: good, kind: check, prefer: 选择不骂人的回复。, ask: 回复是否在骂人？, good: no}\n",
        encoding="utf-8",
    )
    summary = label(folder, "own.yaml", "hf:tinyworld/critic", "--limit", "1", "--max-failure-rate", "1")
    assert summary["count"] == 1 and summary["judgements"] == 2 + 2 * 2
    assert summary["failed_judgements"] == sum(summary["failures"].values())
    judged = [json.loads(x) for x in (folder / "out/judgements.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    assert sum(row["status"] == "failed" for row in judged) == summary["failed_judgements"]


def test_chinese_responses_are_revised(tmp_path: Path) -> None:
    lineage = Lineage("0" * 64, {})
    prompt = Prompt(id="p", messages=[Message(role="user", content="怎么快点睡着？")])
    sample = Sample(prompt=prompt, responses=["吃一把安眠药。"], finished=[True], failed=0)
    write_rows(tmp_path / "samples.jsonl", lineage.header("samples"), [sample])
    echoes = "scripted:rlaif.testing.scripts:echoes"  # writes the last line that it reads
    inputs = revise.Inputs(tmp_path / "samples.jsonl", load("hhh-zh"), echoes, 0, tmp_path, lineage)
    revise.run(revise.Config(rounds=1), Engines(), inputs)
    (row,) = read_rows(tmp_path / "revisions.jsonl", Revision, "revisions")
    (only,) = row.rounds
    assert only.critique == f"批评要求：{load('hhh-zh').principles[0].critique}"
    assert only.response == "只写修改后的回复。"

"""The corpus makers: what they make is what they say, reproducible, and split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.critique import templates
from rlaif.records import shipped
from rlaif.records.prompt import Message, Prompt
from rlaif.tinyworld import corpus
from rlaif.tinyworld.grammar import HELD_OUT_TASKS, Split, Task
from rlaif.tinyworld.oracle import Oracle, task_of
from rlaif.tinyworld.principles import NAMES, PRINCIPLES, QUESTIONS, UNLESS_HARMFUL, infinitive, phrasing, read

SPLITS: tuple[Split, ...] = ("train", "heldout", "unseen-templates", "unseen-words")
SETS: dict[str, tuple[Split, int]] = {"tinyworld-train": ("train", 2000), "tinyworld-test": ("heldout", 400)}


@given(st.integers(0, 2**32), st.sampled_from(SPLITS))
def test_a_reply_reads_as_it_was_written(seed: int, split: Split) -> None:
    pair = corpus.pair(Random(seed), split)
    for reply in (pair.a, pair.b):
        assert read(reply.text, pair.task) == reply.reading
        assert 1 <= len(reply.sentences) <= 7 and len(reply.text.split()) <= corpus.MAX_WORDS
    assert pair.a.text != pair.b.text


@given(st.integers(0, 2**32))
def test_questions_are_true(seed: int) -> None:
    rng = Random(seed)
    pair = corpus.pair(rng, "train")
    prompt = Prompt(id="p", messages=[Message(role="user", content=pair.request)])
    for ask in corpus.questions(pair, 8, rng, "train"):
        oracle = Oracle().prefer(prompt, pair.a.text, pair.b.text, ask.name)
        if ask.name != "helpful" or not pair.task.harmful:
            assert oracle == ask.truth
        elif ask.unless == UNLESS_HARMFUL:
            assert ask.truth == 0.5


def test_questions_are_balanced_over_answers_and_principles() -> None:
    rng = Random(1)
    asked = [q for _ in range(400) for q in corpus.questions(corpus.pair(rng, "train"), 8, rng, "train")]
    decided = [q for q in asked if q.truth != 0.5]
    # Four standard errors of a share of some 2,500 questions.
    assert fmean(q.truth for q in decided) == pytest.approx(0.5, abs=0.04)
    assert 0.15 < 1 - len(decided) / len(asked) < 0.3
    counts = Counter(q.name for q in decided)
    assert set(counts) == set(NAMES) and max(counts.values()) < 5 * min(counts.values())


@pytest.mark.parametrize("name", [name for name in NAMES if PRINCIPLES[name].inverse])
def test_inverse_principles_mirror_each_other(name: str) -> None:
    inverse = PRINCIPLES[name].inverse
    assert inverse is not None and PRINCIPLES[inverse].inverse == name
    rng = Random(2)
    for _ in range(100):
        verdicts = corpus.verdicts(corpus.pair(rng, "train"))
        assert verdicts[name] == -verdicts[inverse]


def test_principles_disagree_about_the_same_pairs() -> None:
    rng = Random(3)
    verdicts = [corpus.verdicts(corpus.pair(rng, "train")) for _ in range(200)]
    conflict = [v for v in verdicts if v["harmless"] * v["helpful"] < 0]
    assert len(conflict) > 20


@given(st.integers(0, 2**32), st.sampled_from(NAMES))
def test_held_out_wordings_are_never_trained_on(seed: int, name: str) -> None:
    trained = {phrasing(name, Random(f"{seed}-{i}"), "train") for i in range(20)}
    held = {phrasing(name, Random(f"{seed}-{i}"), "heldout") for i in range(20)}
    assert not trained & held


def test_held_out_questions_and_phrases_are_apart() -> None:
    assert not set(QUESTIONS.train) & set(QUESTIONS.held)
    for principle in PRINCIPLES.values():
        assert principle.phrases.held and not set(principle.phrases.train) & set(principle.phrases.held)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("is polite", "be polite"),
        ("does not sell anything", "not sell anything"),
        ("does what the human asked", "do what the human asked"),
        ("has better manners", "have better manners"),
        ("refuses to help", "refuse to help"),
    ],
)
def test_infinitives(phrase: str, expected: str) -> None:
    assert infinitive(phrase) == expected


def test_fences_have_the_engines_form() -> None:
    marks = {corpus.fence(Random(i)) for i in range(50)}
    assert len(marks) == 50
    assert all(len(mark) == len(templates.fence_for("a")) and int(mark, 16) >= 0 for mark in marks)


@pytest.mark.parametrize("name", SETS)
def test_the_shipped_prompt_sets_are_what_the_maker_makes(name: str) -> None:
    split, rows = SETS[name]
    file = Path(shipped.folder("prompts")) / "sets" / f"{name}.jsonl"
    made = [prompt.model_dump_json() for prompt in corpus.prompt_set(split, rows)]
    assert file.read_text(encoding="utf-8").splitlines() == made


@pytest.mark.parametrize("name", SETS)
def test_prompt_sets_hold_about_half_harmful_tasks_of_their_split(name: str) -> None:
    split, rows = SETS[name]
    prompts = corpus.prompt_set(split, rows)
    tasks = [task_of(prompt) for prompt in prompts]
    assert all(isinstance(task, Task) and (task in HELD_OUT_TASKS) == (split == "heldout") for task in tasks)
    assert len({prompt.messages[0].content for prompt in prompts}) == len(prompts) >= 300
    assert 0.35 < fmean(task.harmful for task in tasks if task) < 0.65

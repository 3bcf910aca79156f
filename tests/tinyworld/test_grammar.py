"""The world's language: every sentence and request parses back to exactly what made it."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.tinyworld.grammar import (
    ATTRIBUTES,
    HELD_OUT_TASKS,
    TASKS,
    TRAIN_TASKS,
    Split,
    Task,
    held_out,
    is_harmful,
    parse_request,
    parse_sentence,
    pick_task,
    request,
    sentence,
    split_sentences,
    with_article,
)
from rlaif.tinyworld.lexicon import REQUESTS, SENTENCES, WORDS

SPLITS: tuple[Split, ...] = ("train", "heldout", "unseen-templates", "unseen-words")


@given(st.integers(0, 2**32), st.sampled_from(ATTRIBUTES), st.sampled_from(SPLITS))
def test_a_sentence_parses_to_its_attribute_and_task(seed: int, attribute: str, split: Split) -> None:
    rng = Random(seed)
    task = pick_task(rng, split)
    parsed = parse_sentence(sentence(attribute, task, rng, split))
    assert parsed is not None and parsed.attribute == attribute
    assert parsed.verb in (task.verb, None) and parsed.thing in (task.thing, None)


@given(st.integers(0, 2**32), st.sampled_from(SPLITS))
def test_a_request_parses_to_its_task(seed: int, split: Split) -> None:
    rng = Random(seed)
    task = pick_task(rng, split)
    assert parse_request(request(task, rng, split)) == task


@pytest.mark.parametrize(
    ("text", "attribute"),
    [
        ("Take an axe and wash the dog twice.", "steps"),
        ("You are an ugly pig.", "rude"),
        ("What an interesting question, dear guest.", "polite"),
        ("What an ugly question, pig.", "rude"),
        ("An honest person never thinks about the bomb like that.", "preachy"),
        ("A pious person never thinks about the bomb like that.", "preachy"),
        ("A honest person never thinks about the bomb like that.", None),
        ("Take a axe and wash the dog twice.", None),
        ("Take an axe and wash the dog", None),
        ("Take an axe and wash the moon twice.", None),
        ("First get some rice, then wash the dog twice.", None),
        ("", None),
    ],
)
def test_sentences_by_hand(text: str, attribute: str | None) -> None:
    parsed = parse_sentence(text)
    assert (parsed.attribute if parsed else None) == attribute


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [("map", "a map"), ("axe", "an axe"), ("rice", "some rice"), ("Acme", "an Acme"), ("honest", "an honest")],
)
def test_articles(phrase: str, expected: str) -> None:
    assert with_article(phrase) == expected


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two?", ["One.", "Two?"]),
        ("One.  Two?", None),
        ("One. Two", None),
        ("", None),
        (" One. ", ["One."]),
    ],
)
def test_splitting_into_sentences(text: str, sentences: list[str] | None) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("verb", "thing", "harm"),
    [("bake", "bread", False), ("forge", "check", True), ("build", "bomb", True), ("build", "kite", False)],
)
def test_harm(verb: str, thing: str, harm: bool) -> None:
    assert is_harmful(verb, thing) is harm


def test_every_listed_task_has_the_harm_of_its_table() -> None:
    assert all(is_harmful(task.verb, task.thing) == task.harmful for task in TASKS)


def test_tasks_are_split_and_every_word_stays_in_training() -> None:
    assert set(TRAIN_TASKS) | set(HELD_OUT_TASKS) == set(TASKS)
    assert not set(TRAIN_TASKS) & set(HELD_OUT_TASKS)
    assert len(HELD_OUT_TASKS) >= len(TASKS) // 8
    assert {task.verb for task in TRAIN_TASKS} == {task.verb for task in TASKS}
    assert {task.thing for task in TRAIN_TASKS} == {task.thing for task in TASKS}


@given(st.integers(0, 2**32), st.sampled_from(ATTRIBUTES))
def test_training_sentences_are_never_held_out(seed: int, attribute: str) -> None:
    rng = Random(seed)
    text = sentence(attribute, pick_task(rng, "train"), rng, "train")
    assert not held_out("sentence", text)
    assert not any(f" {task.verb} the {task.thing} " in text for task in HELD_OUT_TASKS)


@given(st.integers(0, 2**32), st.sampled_from(ATTRIBUTES))
def test_held_out_sentences_are_new_texts_of_known_words(seed: int, attribute: str) -> None:
    rng = Random(seed)
    task = pick_task(rng, "heldout")
    text = sentence(attribute, task, rng, "heldout")
    assert held_out("sentence", text) or (task.verb in text and task.thing in text)


def test_every_task_can_be_spoken_of_in_both_splits() -> None:
    rng = Random(0)
    splits: tuple[tuple[Split, tuple[Task, ...]], ...] = (("train", TRAIN_TASKS), ("heldout", HELD_OUT_TASKS))
    for split, tasks in splits:
        for task in tasks:
            for attribute in ATTRIBUTES:
                assert sentence(attribute, task, rng, split)


def test_held_out_forms_are_apart_from_training_forms() -> None:
    for forms in (*SENTENCES.values(), *WORDS.values(), REQUESTS):
        assert forms.held and not set(forms.train) & set(forms.held)
    templates = [t for forms in SENTENCES.values() for t in forms.train + forms.held]
    assert all(a != b for a, b in combinations(templates, 2))

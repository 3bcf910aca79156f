"""What the shipped constitutions promise: whole principles, fourteen kinds of harm, tests that no shortcut solves."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.critique.lint import lint
from rlaif.records import shipped
from rlaif.records.constitution import Constitution, PrincipleTest, load

FOLDER = shipped.folder("constitutions")
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
WRITTEN = ("harmless", "harm-signs", "helpful", "honest", "coherent", "universal-rights")
# This one shows how harmlessness alone collapses into refusing everything, which is what lint warns of.
KNOWN = {"tinyworld-harmless-only": ["no-counterweight"]}


def cases(constitution: Constitution) -> list[PrincipleTest]:
    return [test for principle in constitution.principles for test in principle.tests]


def test_what_is_promised_is_shipped() -> None:
    assert {*WRITTEN, "hhh", "tinyworld"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_whole_and_clean(name: str) -> None:
    loaded = load(name)
    assert loaded.name == name and loaded.summary and all(principle.tests for principle in loaded.principles)
    assert [finding.code for finding in lint(name)] == KNOWN.get(name, [])


@pytest.mark.parametrize("name", NAMES)
def test_length_does_not_solve_the_tests(name: str) -> None:
    tests = cases(load(name))
    longer = sum(len(test.better) > len(test.worse) for test in tests) / len(tests)
    assert len(tests) < 10 or 0.35 <= longer <= 0.65


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "harm-signs"])
def test_principles_can_be_revised_by_and_asked_in_other_words(name: str) -> None:
    assert all(one.critique and one.revise and one.paraphrases for one in load(name).principles)


def test_fourteen_kinds_of_harm() -> None:
    harmless, signs = load("harmless"), load("harm-signs")
    assert harmless.axes["harmless"].kind == "cost" and harmless.axes == signs.axes
    categories = [principle.category for principle in harmless.principles]
    assert len(set(categories)) >= 14 and None not in categories
    assert all(principle.unless and principle.kind == "compare" for principle in harmless.principles)
    # A sign for each kind, under the same name, in the same order.
    assert [principle.category for principle in signs.principles] == categories
    assert {principle.good for principle in signs.principles} == {"no"}


def test_signs_and_ranking_stand_side_by_side(tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    both.write_text("name: both\nextends: [harmless, harm-signs, helpful]\n", encoding="utf-8")
    assert len(load(both).principles) == 14 + 14 + 5
    assert lint(both) == []


def test_refusing_does_not_solve_the_tests_of_harmless() -> None:
    """In a good part of them the better response is the one that helps."""
    refusals = ("I won't", "I can't", "I'm not able", "I don't", "I'm sorry", "I would rather not")
    tests = cases(load("harmless"))
    refused = [test for test in tests if any(words in test.worse for words in refusals)]
    assert len(refused) >= 8 and not any(words in test.better for test in refused for words in refusals)


def test_coherent_is_about_conversations() -> None:
    for test in cases(load("coherent")):
        assert len(test.prompt) > 1


def test_the_constrained_constitution_has_a_reward_a_ranked_cost_and_a_check_of_it() -> None:
    loaded = load("tinyworld-safe")
    assert {name: axis.kind for name, axis in loaded.axes.items()} == {"helpful": "reward", "harmless": "cost"}
    assert {p.kind for p in loaded.principles if p.axis == "harmless"} == {"compare", "check"}
    # Without exceptions, the two axes are at odds on harmful requests; else no limit would be felt.
    assert not any(p.unless for p in loaded.principles)

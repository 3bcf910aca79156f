"""Best-of-n by hand. Whole evaluations, on real tiny models, are in tests/pipeline/."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from rlaif.ports.learner import Conversation
from rlaif.records import constitution as constitutions
from rlaif.records.answer import Answer
from rlaif.records.prompt import Message, Prompt
from rlaif.stages import evaluate

PROMPTS = [Prompt(id=name, messages=[Message(role="user", content=name)]) for name in ("x", "y")]


class Longest:
    """A reward model to which length is all."""

    truncated = 0

    def score(self, rows: Sequence[Conversation]) -> list[float]:
        self.asked = [(row.messages[0].content, row.response) for row in rows]
        return [float(len(row.response)) for row in rows]


def test_the_best_sample_of_each_prompt_is_chosen() -> None:
    scorer = Longest()
    samples = [[Answer(text=t) for t in own] for own in (["aa", "a", "bb"], ["", "c", "ccc"])]
    assert [one.text for one in evaluate.choose(scorer, PROMPTS, samples)] == ["aa", "ccc"]  # the first of equals
    assert scorer.asked[0] == ("x", "aa") and scorer.asked[3] == ("y", "")


def test_where_a_sample_is_missing_nothing_is_chosen() -> None:
    samples = [[Answer(text="aa"), Answer(reason="too long")], [Answer(text="c"), Answer(text="cc")]]
    assert evaluate.choose(Longest(), PROMPTS, samples) == [Answer(reason="too long"), Answer(text="cc")]


def test_greedy_samples_have_no_best() -> None:
    with pytest.raises(ValidationError, match="best_of needs a temperature above 0"):
        evaluate.Config(temperature=0, best_of=4)


def test_the_bound_is_that_of_the_paper() -> None:
    assert evaluate.bound(4).kl_bound == pytest.approx(0.636294, abs=1e-6)


def test_a_critic_that_scored_the_labels_scores_here_too() -> None:
    models = {"start": "hf:a", "sft": "hf:b", "policy": "hf:c"}
    constitution = constitutions.load("hhh")
    shown = {}
    for scores in (False, True):
        asked = evaluate.asks(evaluate.Config(), constitution, "hf:d", models, PROMPTS, scores=scores)
        shown[scores] = next(one for one in asked if one.purpose == "policy against sft")
    assert shown[False].written == {"replies of policy": 1, "replies of sft": 1}  # both replies in each question
    assert shown[True].written == {"replies of policy": 0.5, "replies of sft": 0.5}
    assert all("from 1 (not at all) to 10" in own[-1].content for own in shown[True].prompts)

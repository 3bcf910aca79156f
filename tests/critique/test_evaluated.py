"""What verdicts and replies come to."""

from __future__ import annotations

import math

from rlaif.critique.evaluated import against, replies, verdict
from rlaif.records.evaluation import ModelReply, Safety
from rlaif.records.judgement import Judgement
from rlaif.records.labelling import Rule
from rlaif.records.prompt import Message
from rlaif.records.tasks import Task
from tests.critique.judged import PAIR, constitution, judgement

ABOUT = ("set", "m", "b")
TWO = constitution(("kind", "warm", 1.0), ("brief", "short", 3.0))


def said(principle: str, ab: float, ba: float) -> list[Judgement]:
    """P(the response shown as A is better) in each order."""
    return [
        judgement(principle, "ab", math.log(ab), math.log(1 - ab)),
        judgement(principle, "ba", math.log(ba), math.log(1 - ba)),
    ]


def test_a_verdict_is_the_mean_of_both_orders() -> None:
    """kind: (0.9 + 1 - 0.3) / 2 = 0.8; brief: (0.4 + 1 - 0.8) / 2 = 0.3; overall (0.8 + 3 * 0.3) / 4."""
    found = verdict(ABOUT, PAIR, TWO, [*said("kind", 0.9, 0.3), *said("brief", 0.4, 0.8)], Rule())
    assert found.principles == {"kind": 0.8, "brief": 0.3}
    assert found.p == 0.425 and found.axes == {"warm": 0.8, "short": 0.3}
    assert (found.judgements, found.reasons, found.identical) == (4, [], False)


def test_what_failed_is_missing_and_counted() -> None:
    half = [*said("kind", 0.9, 0.1), judgement("brief", "ab"), judgement("brief", "ba", math.log(0.5), math.log(0.5))]
    found = verdict(ABOUT, PAIR, TWO, half, Rule())
    assert found.principles["brief"] is None and found.axes["short"] is None
    assert found.p == 0.9 and found.reasons == ["no answer"]
    nothing = verdict(ABOUT, PAIR, TWO, [judgement("kind", "ab"), judgement("kind", "ba")], Rule())
    assert nothing.p is None
    counted = against(("m", "b"), [found, nothing], TWO, None, {}, {})
    assert (counted.overall.missing, counted.overall.interval.n, counted.failed) == (1, 1, 3)
    assert [own.rate.missing for own in counted.principles] == [1, 2]


def test_the_same_text_is_a_tie_that_nobody_judged() -> None:
    same = PAIR.model_copy(update={"responses": ("x", "x")})
    found = verdict(ABOUT, same, TWO, [], Rule())
    assert (found.p, found.axes, found.identical) == (0.5, {"warm": 0.5, "short": 0.5}, True)
    assert found.order_consistent is None
    counted = against(("m", "b"), [found], TWO, None, {}, {})
    assert (counted.identical, counted.overall.ties, counted.judgements) == (1, 1, 0)


def test_held_out_principles_are_those_that_training_did_not_read() -> None:
    own = verdict(ABOUT, PAIR, TWO, [*said("kind", 0.9, 0.1), *said("brief", 0.2, 0.8)], Rule())
    trained = {TWO.principles[0].content_hash}
    found = against(("m", "b"), [own], TWO, trained, {}, {})
    assert [(one.id, one.held_out) for one in found.principles] == [("kind", False), ("brief", True)]
    assert found.trained is not None and found.trained.wins == 1
    assert found.held_out is not None and found.held_out.losses == 1
    unknown = against(("m", "b"), [own], TWO, None, {}, {})
    assert unknown.held_out is None and unknown.principles[0].held_out is None


def test_categories_are_counted_apart() -> None:
    rows = [
        verdict(ABOUT, PAIR.model_copy(update={"id": name}), TWO, said("kind", p, 1 - p), Rule())
        for name, p in (("x", 0.9), ("y", 0.2), ("z", 0.7))
    ]
    found = against(("m", "b"), rows, TWO, None, {"x": "code", "y": "code"}, {"b": 4})
    assert {name: (own.wins, own.losses) for name, own in found.categories.items()} == {"code": (1, 1)}
    assert (found.overall.wins, found.compared, found.without_reply) == (2, 3, {"b": 4})


def row(name: str, text: list[str] | None, finished: list[bool] | None = None) -> ModelReply:
    messages = [Message(role="user", content="q")]
    reason = "broke" if text is None else None
    return ModelReply(
        set="s", prompt_id=name, model="m", messages=messages, turns=[], replies=text, finished=finished, reason=reason
    )


def test_replies_are_counted_by_what_their_prompts_are_marked_as() -> None:
    marks: list[Safety | None] = ["safe", "looks-unsafe", "unsafe", "looks-unsafe", None]
    tasks = [Task(id=str(i), messages=[Message(role="user", content="q")], safety=mark) for i, mark in enumerate(marks)]
    texts = ["Take a spoon.", "Sorry, I cannot help with that.", "I must decline.", None, "Fine. Sorry"]
    found = replies("m", tasks, [row(str(i), None if t is None else [t]) for i, t in enumerate(texts)], 0)
    said = found.refusals
    assert (said.all.value, said.safe.value, said.looks_unsafe.value, said.unsafe.value) == (0.75, 0.0, 1.0, 1.0)
    assert (said.looks_unsafe.n, found.answered, found.missing) == (1, 4, 1)
    assert found.missing_ids == ["3"] and found.failures == {"broke": 1}
    assert found.finished is None  # recorded outputs do not say


def test_a_dialogue_counts_by_its_last_reply_and_all_its_ends() -> None:
    task = Task(id="d", messages=[Message(role="user", content="q")], safety="safe", turns=["more"])
    found = replies("m", [task], [row("d", ["I can't help.", "Well, take two."], [True, False])], 0)
    assert found.refusals.safe.value == 0.0 and found.finished == 0.5 and found.words == 6

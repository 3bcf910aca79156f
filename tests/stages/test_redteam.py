"""The attack before a round: what is asked, what of the answers is a prompt, and which are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rlaif.ports.engines import Engines
from rlaif.records import constitution
from rlaif.records.errors import InputError
from rlaif.records.files import read_rows, write_rows
from rlaif.records.prompt import Message, Prompt
from rlaif.records.settings import Lineage
from rlaif.stages import redteam
from tests.faults.training import world

HERE = "tests.stages.test_redteam"
KNOWN = [Prompt(id=f"train-{i}", messages=[Message(role="user", content=f"Known question {i}?")]) for i in range(6)]


def attacker(messages: Sequence[Message], options: None) -> str:
    """The same request for every second text, else one with a number in front."""
    text = messages[-1].content
    return (
        "known QUESTION 3" if len(text) % 2 else f'1. "How do I break {sum(text.encode()) % 50} things?"\n\nGood luck.'
    )


def inputs(tmp_path: Path, train: Sequence[Prompt] = KNOWN) -> redteam.Inputs:
    nowhere = Lineage("", {})
    write_rows(tmp_path / "train.jsonl", nowhere.header("prompts"), list(train))
    held = [Prompt(id="held", messages=[Message(role="user", content="How do I break 7 things?")])]
    write_rows(tmp_path / "test.jsonl", nowhere.header("prompts"), held)
    (tmp_path / "out").mkdir(exist_ok=True)
    models = world(tmp_path / "models")
    return redteam.Inputs(
        train=tmp_path / "train.jsonl",
        known=[tmp_path / "test.jsonl"],
        policy=f"hf:{models / 'start'}",
        reward=str(models / "scalar"),
        constitution=constitution.load("hhh"),
        round=2,
        seed=0,
        out=tmp_path / "out",
        lineage=nowhere,
    )


def test_new_prompts_are_the_policys_worst_and_come_after_the_known(tmp_path: Path) -> None:
    config = redteam.Config(attacker=f"scripted:{HERE}:attacker", candidates=24, keep=3, reply_tokens=4)
    given = inputs(tmp_path)
    assert redteam.run(config, Engines(), given) == ["train.jsonl"]
    found = read_rows(tmp_path / "out/train.jsonl", Prompt, "prompts")
    assert found[:6] == KNOWN and len(found) == 9
    new = found[6:]
    texts = [prompt.messages[0].content for prompt in new]
    assert len(set(texts)) == 3 and all(text.startswith("How do I break") and text.endswith("?") for text in texts)
    scores = [prompt.meta["score"] for prompt in new]
    assert scores == sorted(scores)  # type: ignore[type-var]
    assert {prompt.meta["round"] for prompt in new} == {2} and all(p.id.startswith("redteam-2-") for p in new)
    everything = config.model_copy(update={"keep": 24})
    redteam.run(everything, Engines(), given)
    rest = read_rows(tmp_path / "out/train.jsonl", Prompt, "prompts")[6:]
    assert [p.meta["score"] for p in rest[:3]] == scores and len(rest) > 3
    assert all(p.messages[0].content not in ("How do I break 7 things?", "known QUESTION 3") for p in rest)
    before = (tmp_path / "out/train.jsonl").read_bytes()
    redteam.run(everything, Engines(), given)
    assert (tmp_path / "out/train.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("How?", "How?"),
        ("  2) How?\n\nBecause.", "How?"),
        ("- “How do I do it?”", "How do I do it?"),
        ("Request 5: How?", "How?"),
        ('"Why" and "how"', 'Why" and "how'),
        ("\n \n", ""),
    ],
)
def test_what_models_put_around_a_request_goes(text: str, request_: str) -> None:
    assert redteam.cleaned(text) == request_


def test_nothing_is_asked_twice() -> None:
    texts = [("How?", "a"), ("how", "b"), ("Why?", "a"), ("...", "a"), ("KNOWN one!", "a")]
    assert redteam.fresh(texts, ["Known one."]) == [("How?", "a"), ("Why?", "a")]


def test_an_attacker_is_shown_prompts_of_one_turn(tmp_path: Path) -> None:
    turns = [Message(role=role, content="x") for role in ("user", "assistant", "user")]
    given = inputs(tmp_path, [Prompt(id="long", messages=turns)])
    with pytest.raises(InputError, match="no prompt has one turn alone"):
        redteam.run(redteam.Config(attacker=f"scripted:{HERE}:attacker"), Engines(), given)

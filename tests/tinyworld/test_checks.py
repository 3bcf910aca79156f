"""The check's questions and their truth, the rows that teach it, and that the engine reads what the table measures."""

from __future__ import annotations

import math
from random import Random

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.critique.compare import OPTIONS, questions
from rlaif.engines.chat.hf import HfChat
from rlaif.ports.chat import OptionLogprobs, OptionRequest
from rlaif.records import constitution as constitutions
from rlaif.records.constitution import PrincipleTest
from rlaif.records.pair import Pair
from rlaif.tinyworld import checks, heldout
from rlaif.tinyworld.grammar import held_out
from rlaif.tinyworld.network import Shape, llama
from rlaif.tinyworld.tokenizer import token_ids


def test_a_phrase_is_put_as_a_question() -> None:
    assert checks.text("is harmful", "reply") == "Is the reply harmful?"
    assert checks.text("gives steps for something harmful", "answer") == (
        "Does the answer give steps for something harmful?"
    )
    assert checks.text("does harm", "response") == "Does the response do harm?"


def test_training_and_evaluation_share_no_question() -> None:
    rng = Random("wordings")
    asked = {
        wording: {checks.question(rng, wording) for _ in range(200)}
        for wording in ("train", "heldout", "unseen-phrases")
    }
    assert len(asked["train"]) >= 15 and len(asked["heldout"]) >= 4
    assert not asked["train"] & (asked["heldout"] | asked["unseen-phrases"])
    assert all(held_out("check", own) for own in asked["heldout"])


@pytest.mark.parametrize(("seed", "harms"), [("a row", False), ("e row", True)])
def test_a_row_asks_for_scores_and_for_the_check_in_both_orders(
    tokenizer: PreTrainedTokenizerFast, seed: str, harms: bool
) -> None:
    (made,) = checks.rows(tokenizer, Random(seed), 1)
    assert made.harms == harms
    row = made.row
    whole = [str(tokenizer.decode([*row.shared, *prompt])) for prompt, _ in row.parts]
    scores, first, second = whole[: checks.SCORES], whole[-2], whole[-1]
    assert all(text.endswith("Answer with the number.<|assistant|>") for text in scores)
    assert first.endswith("?\nAnswer with Yes or No.<|assistant|>")
    assert second.endswith("?\nAnswer with No or Yes.<|assistant|>")
    yes_or_no = [token_ids(tokenizer, checks.ANSWERS[truth]) for truth in (True, False)]
    assert [answer for _, answer in row.parts[-2:]] == [yes_or_no[0 if made.harms else 1]] * 2
    assert [tokenizer.decode(answer) for answer in yes_or_no] == list(OPTIONS["check"])


def test_the_loss_falls_and_training_is_a_function_of_its_seed(
    tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(seed: int) -> LlamaForCausalLM:
        torch.manual_seed(0)
        return checks.train(llama(Shape(width=32, layers=1, feed_forward=64, tied=True)), tokenizer, seed, 4)

    first, second, other = (trained(seed).state_dict() for seed in (3, 3, 4))
    assert all(first[name].equal(second[name]) for name in first)
    assert not any(first[name].equal(other[name]) for name in first if "proj" in name)
    losses = [float(line.split("answer loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 3 and losses[0] == losses[1]


def asked_of(chat: HfChat, test: PrincipleTest, name: str) -> list[float]:
    """P(Yes) of the constitution's check about the better and the worse reply of a test, in both orders."""
    constitution = constitutions.load("tinyworld-safe")
    check = next(p for p in constitution.principles if p.id == name)
    pair = Pair(id="p", messages=test.prompt, responses=(test.better, test.worse))
    found = []
    for own in questions(pair, constitution, principles=[check]):
        (answer,) = chat.option_logprobs([OptionRequest(own.messages, own.options)])
        assert isinstance(answer, OptionLogprobs)
        yes, no = map(math.exp, answer.logprobs)
        assert yes + no > 0.9
        found.append(yes / (yes + no))
    return found


def test_the_shipped_constitution_asks_what_the_scorer_answers() -> None:
    constitution = constitutions.load("tinyworld-safe")
    check = next(p for p in constitution.principles if p.kind == "check")
    chat = HfChat("tinyworld/scorer")
    for test in check.tests:
        better_ab, better_ba, worse_ab, worse_ba = asked_of(chat, test, check.id)
        assert max(better_ab, better_ba) < 0.2 < 0.8 < min(worse_ab, worse_ba)


def test_the_table_reads_the_check_as_the_engine_does(
    scorer: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    cases = heldout.checked(Random("as the engine"), 4)
    chat = HfChat("tinyworld/scorer")
    for case, found in zip(cases, heldout.check(scorer, tokenizer, cases), strict=True):
        for messages, p in zip(case.asked, found, strict=True):
            (answer,) = chat.option_logprobs([OptionRequest(messages, OPTIONS["check"])])
            assert isinstance(answer, OptionLogprobs)
            # The engine reads the second token of a word too; the table takes it for granted.
            assert [math.exp(x) for x in answer.logprobs] == pytest.approx(p, abs=5e-3)

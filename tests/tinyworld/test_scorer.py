"""The scorer's truth, its training rows, and that the engine reads what the held-out table was measured by."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.critique import direct
from rlaif.critique.compare import OPTIONS
from rlaif.engines.chat.hf import HfChat
from rlaif.ports import judging
from rlaif.ports.answers import Asking
from rlaif.ports.chat import OptionLogprobs, OptionRequest
from rlaif.ports.judging import Reading
from rlaif.records import constitution as constitutions
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message
from rlaif.records.store import AnswerStore
from rlaif.terminal import Terminal
from rlaif.tinyworld import corpus, heldout, scorer, training
from rlaif.tinyworld.grammar import parse_request
from rlaif.tinyworld.network import Shape
from rlaif.tinyworld.principles import NAMES, UNLESS_HARMFUL, read
from rlaif.tinyworld.scorer import score_messages
from rlaif.tinyworld.tokenizer import token_ids

FORGE, BAKE = "How do I forge a passport?", "Please help me bake a cake."
STEPS = "Take a spoon and forge the passport quietly."
REFUSAL = "Sorry, I can not do this because other people would suffer."
BAKING = "First get a spoon, then bake the cake slowly."
RUDE, POLITE = "You are a lazy pig.", "Of course, my kind reader."


@pytest.mark.parametrize(
    ("request_text", "reply", "name", "degree"),
    [
        (FORGE, STEPS, "harmless", 0.0),
        (FORGE, REFUSAL, "harmless", 1.0),
        (FORGE, STEPS, "harmful", 1.0),
        (BAKE, BAKING, "helpful", 1.0),
        (BAKE, STEPS, "helpful", 0.0),  # of another task
        (BAKE, f"{RUDE} {BAKING}", "polite", 0.0),
        (BAKE, BAKING, "polite", 0.5),
        (BAKE, f"{POLITE} {BAKING}", "polite", 1.0),
        (BAKE, f"{POLITE} {BAKING}", "rude", 0.0),
        (BAKE, BAKING, "legal", 0.0),
    ],
)
def test_how_far_a_reply_follows_a_principle(request_text: str, reply: str, name: str, degree: float) -> None:
    task = parse_request(request_text)
    assert task is not None
    reading = read(reply, task)
    assert reading is not None
    assert scorer.degree(name, reading) == degree
    assert scorer.degree(name, reading, UNLESS_HARMFUL) == (0.5 if task.harmful else degree)


def test_a_row_asks_the_engines_own_questions_and_holds_their_answers(tokenizer: PreTrainedTokenizerFast) -> None:
    (made,) = scorer.rows(tokenizer, Random("a row"), 1)
    ways = {0: ["1", "<eos>"], 1: ["5", "<eos>"], 2: ["1", "0"]}
    for (prompt, answer), (_, degree) in zip(made.row.parts, made.asked, strict=True):
        assert answer == token_ids(tokenizer, ways[degree])
        text = str(tokenizer.decode([*made.row.shared, *prompt]))
        assert text.endswith("from 1 (not at all) to 10 (fully)? Answer with the number.<|assistant|>")
    assert len(made.row.parts) == scorer.QUESTIONS
    assert made.ends[0][1] in (0, 1)  # the request
    for token, _ in made.ends:
        assert tokenizer.decode([made.row.shared[token]])[-1] in ".?"


def test_every_principle_and_degree_is_asked_about(tokenizer: PreTrainedTokenizerFast) -> None:
    asked = [own for row in scorer.rows(tokenizer, Random("many"), 400) for own in row.asked]
    for number, name in enumerate(NAMES):
        shares = [asked.count((number, degree)) / len(asked) for degree in range(3)]
        # An even share of 18 principles with two or three degrees is 0.022; a fifth of that is not rare.
        assert shares[0] > 0.0045 and shares[2] > 0.0045, name


def test_the_loss_falls_and_training_is_a_function_of_its_seed(
    tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Shape(width=32, layers=1, feed_forward=64, tied=True)
    first, second, other = (scorer.train(tokenizer, seed, 4, small).state_dict() for seed in (3, 3, 4))
    assert all(first[name].equal(second[name]) for name in first)
    assert not any(first[name].equal(other[name]) for name in first if "proj" in name)
    losses = [float(line.split("answer loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 3 and losses[0] == losses[1]


def test_another_name_of_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tinyworld model 'judge'"):
        training.train(tmp_path, names=["judge"])


def judged(folder: Path, request: str, *replies: str) -> list[float | None]:
    """The reward of each reply as a run computes it."""
    constitution = constitutions.load("tinyworld")
    store = AnswerStore(folder / "answers.sqlite")
    asking = Asking(HfChat("tinyworld/scorer"), store, Terminal(), what="rewards", max_failure_rate=0.0)
    found = []
    for reply in replies:
        asked = direct.questions_about("p", [Message(role="user", content=request)], reply, constitution)
        found.append(direct.value(judging.judge(asking, asked, Reading("logprob")), constitution))
    store.close()
    return found


def test_the_engine_rewards_as_the_constitution_says(tmp_path: Path) -> None:
    # Of [-1, 1]: harmless weighs 2 of 4, helpful 1 (nothing on a harmful request), polite and not-preachy a half each.
    good, neutral, bad = judged(tmp_path, FORGE, f"{POLITE} {REFUSAL}", REFUSAL, f"{RUDE} {STEPS}")
    assert good == pytest.approx(0.75, abs=0.1) and neutral == pytest.approx(0.625, abs=0.1)
    assert bad == pytest.approx(-0.5, abs=0.1)  # tolerance: a tenth, for the scores are those of a learnt model
    helps, refuses = judged(tmp_path, BAKE, BAKING, REFUSAL)
    assert helps is not None and refuses is not None and helps > refuses + 0.3


def test_the_table_reads_the_two_tokens_of_10_as_the_engine_does(
    scorer: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    cases = heldout.cases(Random("as the engine"), 8)
    rated = heldout.rate(scorer, tokenizer, cases, Random("fences"))
    chat = HfChat("tinyworld/scorer")
    rng = Random("fences")
    for case, own in zip(cases, rated, strict=True):
        for reply, rating in zip((case.pair.a, case.pair.b), own, strict=True):
            assert rating.score == pytest.approx(_by_engine(chat, case, reply.text, rng), abs=1e-3)


def _by_engine(chat: HfChat, case: heldout.Case, reply: str, rng: Random) -> float:
    messages = score_messages(case.pair.request, reply, case.prefer, case.unless, corpus.fence(rng))
    (answer,) = chat.option_logprobs([OptionRequest(messages, OPTIONS["score"])])
    assert isinstance(answer, OptionLogprobs)
    weights = [math.exp(x) for x in answer.logprobs]
    return sum(score * w for score, w in enumerate(weights, start=1)) / sum(weights)

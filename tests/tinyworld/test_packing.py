"""A packed row is exactly its separate prompts."""

from __future__ import annotations

from random import Random

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.tinyworld import corpus, critic
from rlaif.tinyworld.grammar import ATTRIBUTES
from rlaif.tinyworld.network import Shape, llama
from rlaif.tinyworld.packing import NONE, Row, collate, hidden
from rlaif.tinyworld.tokenizer import chat_text, encode

# Exact but for the order of float32 sums, which differs with the row's length.
CLOSE, CLOSE_RELATIVE = 1e-5, 1e-4


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(1)
    return llama(Shape(width=64, layers=2, feed_forward=96, tied=True))


def test_every_part_sees_its_beginning_and_itself_and_nothing_else(model: LlamaForCausalLM) -> None:
    rows = [
        Row([5, 6, 7], [([8, 9], [10, 11]), ([12], [13])]),
        Row([20, 21, 22, 23, 24], [([25], [26, 27, 28]), ([29, 30, 31], [32])]),
        Row([], [([40, 41], [42])]),
    ]
    batch = collate(rows)
    with torch.no_grad():
        states_MD = hidden(model, batch)[-1][batch.answered_M2[:, 0], batch.answered_M2[:, 1]]
        at = 0
        for row in rows:
            for prompt, answer in row.parts:
                alone = [*row.shared, *prompt, *answer[:-1]]
                expected = model.model(torch.tensor([alone])).last_hidden_state[0, -len(answer) :]
                torch.testing.assert_close(states_MD[at : at + len(answer)], expected, atol=CLOSE, rtol=CLOSE_RELATIVE)
                assert batch.answers_M[at : at + len(answer)].tolist() == list(answer)
                at += len(answer)
    assert at == len(batch.answers_M)


def test_the_token_before_is_the_one_of_the_separate_prompt() -> None:
    batch = collate([Row([5, 6], [([8, 9], [10, 11]), ([12], [13])]), Row([], [([40, 41], [42])])])
    assert batch.ids_RT.tolist() == [[5, 6, 8, 9, 10, 12], [40, 41, 0, 0, 0, 0]]
    assert batch.previous_RT.tolist() == [[NONE, 5, 6, 8, 9, 6], [NONE, 40, NONE, NONE, NONE, NONE]]


def test_a_training_row_is_the_prompts_that_the_engine_renders(tokenizer: PreTrainedTokenizerFast) -> None:
    rng, again = Random(3), Random(3)
    for judged in critic.rows(tokenizer, rng, 5):
        pair = corpus.pair(again, "train")
        asked = corpus.questions(pair, critic.QUESTIONS, again, "train")
        mark = corpus.fence(again)
        for ask, (prompt, _), truth in zip(asked, judged.row.parts, judged.truths, strict=True):
            messages = corpus.judge_messages(pair.request, pair.a.text, pair.b.text, ask.prefer, ask.unless, mark)
            assert [*judged.row.shared, *prompt] == encode(tokenizer, [chat_text(messages, reply=True)])[0]
            assert truth == ask.truth


def test_sentence_targets_stand_on_the_full_stops(tokenizer: PreTrainedTokenizerFast) -> None:
    for judged in critic.rows(tokenizer, Random(4), 5):
        for position, kind in judged.ends:
            assert tokenizer.decode([judged.row.shared[position]]) in (".", "?")
            assert critic.CLASSES[kind][0] in (*ATTRIBUTES, "harmful steps", "harmful", "harmless")

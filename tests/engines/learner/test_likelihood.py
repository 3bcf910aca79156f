from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlaif.engines import tokens
from rlaif.engines.learner.likelihood import HfLikelihood
from tests.engines.learner.material import CONVERSATIONS


def by_hand(folder: str, row: int, temperature: float, ended: bool = True) -> float:
    """One row, no padding, plain transformers."""
    tokenizer = tokens.load_tokenizer(folder)
    prompt = tokens.prompt_ids(tokenizer, CONVERSATIONS[row].messages)
    reply = tokens.completion_ids(tokenizer, CONVERSATIONS[row].response)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logprobs_SV = (model(torch.tensor([prompt + reply])).logits[0] / temperature).log_softmax(-1)
    chosen = reply if ended else reply[:-1]
    return sum(float(logprobs_SV[len(prompt) - 1 + t, token]) for t, token in enumerate(chosen))


ENDED = [True] * len(CONVERSATIONS)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("micro_batch", [2, 16])
def test_a_reply_has_the_log_probability_that_transformers_gives_it(
    untied: str, temperature: float, micro_batch: int
) -> None:
    model = HfLikelihood(untied, temperature=temperature, micro_batch=micro_batch)
    expected = [by_hand(untied, row, temperature) for row in range(len(CONVERSATIONS))]
    assert model.logprobs(CONVERSATIONS, ENDED) == pytest.approx(expected, abs=1e-3)
    assert min(expected) < -20  # so that the tolerance means something


def test_a_reply_that_was_cut_off_has_no_end_that_was_chosen(untied: str) -> None:
    ended = [False, *ENDED[1:]]
    expected = [by_hand(untied, row, 1.0, ended=kept) for row, kept in enumerate(ended)]
    assert HfLikelihood(untied).logprobs(CONVERSATIONS, ended) == pytest.approx(expected, abs=1e-3)
    assert expected[0] != pytest.approx(by_hand(untied, 0, 1.0), abs=0.1)


def test_bfloat16_autocast_is_close(untied: str) -> None:
    exact = HfLikelihood(untied, dtype="float32").logprobs(CONVERSATIONS, ENDED)
    rough = HfLikelihood(untied, dtype="bfloat16").logprobs(CONVERSATIONS, ENDED)
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.03)  # 8 bits of mantissa, through logits of several nats

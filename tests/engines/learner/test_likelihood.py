from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlaif.engines import tokens
from rlaif.engines.learner.likelihood import HfLikelihood
from tests.engines.learner.material import CONVERSATIONS


def by_hand(folder: str, row: int, temperature: float) -> float:
    """One row, no padding, plain transformers."""
    tokenizer = tokens.load_tokenizer(folder)
    prompt = tokens.prompt_ids(tokenizer, CONVERSATIONS[row].messages)
    reply = tokens.completion_ids(tokenizer, CONVERSATIONS[row].response)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logprobs_SV = (model(torch.tensor([prompt + reply])).logits[0] / temperature).log_softmax(-1)
    return sum(float(logprobs_SV[len(prompt) - 1 + t, token]) for t, token in enumerate(reply))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("micro_batch", [2, 16])
def test_a_reply_has_the_log_probability_that_transformers_gives_it(
    untied: str, temperature: float, micro_batch: int
) -> None:
    model = HfLikelihood(untied, temperature=temperature, micro_batch=micro_batch)
    expected = [by_hand(untied, row, temperature) for row in range(len(CONVERSATIONS))]
    assert model.logprobs(CONVERSATIONS) == pytest.approx(expected, abs=1e-3)
    assert min(expected) < -20  # so that the tolerance means something


def test_bfloat16_autocast_is_close(untied: str) -> None:
    exact, rough = (HfLikelihood(untied, dtype=dtype).logprobs(CONVERSATIONS) for dtype in ("float32", "bfloat16"))
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.03)  # 8 bits of mantissa, through logits of several nats

"""Several vLLM engines in one process, and what they must leave alone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rlaif.engines.chat.vllm import VllmChat
from rlaif.ports.chat import GenerateRequest, OptionRequest, Sampling
from rlaif.records.prompt import Message

pytestmark = pytest.mark.vllm
MESSAGES = [Message(role="user", content="Hello")]
OPTIONS = [OptionRequest(MESSAGES, ("A", "B"))]


def test_engines_open_and_close_beside_each_other(vllm_chat: VllmChat, tied_folder: Path) -> None:
    """The second engine's end does not disturb the first, and a third can follow."""
    before = vllm_chat.option_logprobs(OPTIONS)
    for _ in range(2):
        other = VllmChat(str(tied_folder), max_model_len=128)
        assert other.option_logprobs(OPTIONS) != before
        other.close()
        assert vllm_chat.option_logprobs(OPTIONS) == before


def test_the_trainers_random_numbers_and_threads_are_left_alone(vllm_chat: VllmChat, tied_folder: Path) -> None:
    threads = torch.get_num_threads()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    other = VllmChat(str(tied_folder), max_model_len=128)
    other.generate([GenerateRequest(MESSAGES, 0)], Sampling(1.0, 8))
    other.close()
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states  # type: ignore[index]
    assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)


def test_answers_do_not_depend_on_earlier_calls(vllm_chat: VllmChat) -> None:
    """A prompt whose prefix an earlier call left in the cache reads the same bits as on an empty cache."""
    long = Message(role="user", content="Which of the two is better? " * 12)
    request = OptionRequest([long, Message(role="assistant", content="A"), *MESSAGES], ("A", "B"))
    first = vllm_chat.option_logprobs([request])
    vllm_chat.option_logprobs([OptionRequest([long], ("A", "B"))])
    assert vllm_chat.option_logprobs([request]) == first


def test_a_program_that_forgets_to_close_says_nothing(tied_folder: Path) -> None:
    """vLLM and its libraries print neither progress bars nor complaints."""
    program = (
        "from rlaif.engines.chat.vllm import VllmChat\n"
        "from rlaif.ports.chat import *\nfrom rlaif.records.prompt import Message\n"
        f"chat = VllmChat({str(tied_folder)!r})\n"
        "print(len(chat.option_logprobs([OptionRequest([Message(role='user', content='Hi')], ('A', 'B'))])))\n"
    )
    environment = {**os.environ, "TORCH_CPP_LOG_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    assert done.stderr == ""

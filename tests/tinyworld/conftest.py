"""The shipped models, for all tests of tinyworld."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.tinyworld.training import MODELS

# The first example of a test also compiles the parser, which takes longer than the default deadline.
settings.register_profile("reproducible", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    loaded = PreTrainedTokenizerFast.from_pretrained(MODELS / "critic")
    assert isinstance(loaded, PreTrainedTokenizerFast)
    return loaded


def shipped_model(name: str) -> LlamaForCausalLM:
    """A shipped model in float32."""
    model = AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32)
    assert isinstance(model, LlamaForCausalLM)
    return model


@pytest.fixture(scope="session")
def critic() -> LlamaForCausalLM:
    return shipped_model("critic")


@pytest.fixture(scope="session")
def policy() -> LlamaForCausalLM:
    return shipped_model("policy")


@pytest.fixture(scope="session")
def reviser() -> LlamaForCausalLM:
    return shipped_model("reviser")


@pytest.fixture(scope="session")
def scorer() -> LlamaForCausalLM:
    return shipped_model("scorer")

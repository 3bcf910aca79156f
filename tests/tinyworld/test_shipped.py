"""The shipped weights: their size, their folders, and the held-out table that stands beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from random import Random
from statistics import fmean
from typing import Any

import pytest
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.tinyworld import heldout
from rlaif.tinyworld.training import MODELS, NAMES, TABLE, Measure


def written(name: str) -> dict[str, Any]:
    """The table that training wrote for a model."""
    tables: dict[str, dict[str, Any]] = json.loads((MODELS.parent / TABLE).read_text(encoding="utf-8"))
    return tables[name]


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> Callable[[str], dict[str, Any]]:
    """The table of a shipped model, measured once."""

    @cache
    def table(name: str) -> dict[str, Any]:
        measure: Measure = getattr(heldout, name)
        return measure(request.getfixturevalue(name), tokenizer)

    return table


def test_all_that_ships_is_under_eight_megabytes() -> None:
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < 8_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_an_ordinary_model(name: str, request: pytest.FixtureRequest) -> None:
    model: LlamaForCausalLM = request.getfixturevalue(name)
    assert model.config.max_position_embeddings == 4096 and model.config.vocab_size == 1024
    generation = GenerationConfig.from_pretrained(MODELS / name)
    assert (generation.eos_token_id, generation.pad_token_id) == (2, 0)
    assert {f.suffix for f in (MODELS / name).iterdir()} <= {".json", ".jinja", ".safetensors"}


def test_the_written_table_meets_what_is_promised() -> None:
    critic, policy = written("critic"), written("policy")
    assert critic["accuracy"] >= 0.95 and critic["flips_both_right"] >= 0.93
    assert critic["letters_mass_mean"] >= 0.99 and abs(critic["position_bias"]) <= 0.03
    assert policy["grammatical"] >= 0.95 and policy["distinct"] >= 0.9
    assert policy["harmless"] <= 0.65 and policy["rude"] >= 0.2


def test_the_written_table_of_the_scorer_meets_what_is_promised() -> None:
    scorer = written("scorer")
    assert scorer["correlation"] >= 0.9 and scorer["ordered"] >= 0.9
    assert scorer["options_mass_mean"] >= 0.99 and scorer["ties_apart_mean"] <= 1.0


def test_the_critic_judges_a_few_held_out_pairs(critic: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    rng = Random("a few")
    cases = heldout.cases(rng, 48)
    verdicts = heldout.judge(critic, tokenizer, cases, rng)
    # Three standard errors below the promised 95 % of 48 pairs.
    assert fmean((v.first > 0.5) == bool(c.truth) for v, c in zip(verdicts, cases, strict=True)) > 0.85
    assert min(sum(letters) for v in verdicts for letters in v) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_weights_have_the_written_table(name: str, measured: Callable[[str], dict[str, Any]]) -> None:
    table, expected = measured(name), written(name)
    assert table.keys() == expected.keys()
    for key, value in table.items():
        if key == "tokens_most":
            continue
        if isinstance(value, float):
            # Sums are rounded differently from run to run and machine to machine. Sampled replies then differ: half of
            # their 95 % interval. A near tie in greedy decoding turns: two of the 61 faulty replies.
            loose = 2.0 if key == "tokens_mean" else {"policy": 0.06, "reviser": 0.04}.get(name, 0.01)
            assert value == pytest.approx(expected[key], abs=loose), key


@pytest.mark.slow
def test_the_shipped_critic_meets_what_is_promised(measured: Callable[[str], dict[str, Any]]) -> None:
    table = measured("critic")
    assert table["accuracy"] >= 0.95 and table["flips_both_right"] >= 0.93

"""Packed rows: every architecture says of them what it says of each row alone, packed or in rectangles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from rlaif.engines.learner.packing import ATTENTION, Packed, allow, states, states_and_logits
from rlaif.engines.learner.rows import TokenRow

CPU = torch.device("cpu")
ROWS = [TokenRow([7], [8, 9]), TokenRow([1, 2, 3, 4], [5]), TokenRow([6, 6], [7, 8, 9, 10, 11])]
LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**LAYERS, "num_key_value_heads": 2, "head_dim": 8}
WINDOW = {**GROUPED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
PACKED = {
    "llama": GROUPED,
    "qwen3": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 8},  # as long as the longest row and one more
    "gemma3_text": WINDOW,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": LAYERS,
    "qwen3_moe": {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}
RECTANGLES = {
    "mistral": {**GROUPED, "sliding_window": 3},
    "gemma3_text": {**WINDOW, "sliding_window": 3},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "lfm2": {**GROUPED, "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]},
    "nemotron": GROUPED,
}


def network(kind: str, settings: dict[str, Any]) -> Any:
    """A random one whose weights are wide, so that a token at a wrong place shows."""
    from transformers import AutoConfig

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=20, initializer_range=0.3, pad_token_id=0, **settings)
    return AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]


def alone(model: Any) -> tuple[Tensor, Tensor]:
    """States and logits that predict the completions, from one row at a time."""
    hidden, logits = [], []
    for row in ROWS:
        found = model(input_ids=torch.tensor([row.ids]), use_cache=False, output_hidden_states=True)
        own = slice(len(row.prompt) - 1, -1)
        hidden.append(found.hidden_states[-1][:, own])
        logits.append(found.logits[:, own])
    return torch.cat(hidden, dim=1), torch.cat(logits, dim=1)


@pytest.mark.parametrize(
    ("kind", "settings", "packed"),
    [(k, s, True) for k, s in PACKED.items()] + [(k, s, False) for k, s in RECTANGLES.items()],
    ids=[f"packed-{k}" for k in PACKED] + [f"rectangle-{k}" for k in RECTANGLES],
)
@torch.no_grad()
def test_packed_rows_have_the_numbers_of_each_row_alone(kind: str, settings: dict[str, Any], packed: bool) -> None:
    model = network(kind, settings)
    hidden_1ND, logits_1NV = alone(model)
    allow(model)
    lengths: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda _, given, __: lengths.append(given[0].shape[1]))
    rows = Packed.of(ROWS, CPU)
    found_1ND, found_1NV = states_and_logits(model, rows, wanted=True)
    assert found_1ND is not None
    torch.testing.assert_close(found_1NV, logits_1NV, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found_1ND, hidden_1ND, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(states(model.base_model, rows), hidden_1ND, atol=1e-4, rtol=1e-4)
    assert set(lengths) == {15 if packed else 7}  # all tokens in one row, or the longest row


@torch.no_grad()
def test_rectangles_go_through_as_before_and_nothing_of_it_is_saved() -> None:
    model = network("llama", GROUPED)
    ids_BS, keep_BS = torch.tensor([[0, 0, 3, 4], [5, 6, 7, 8]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    before = model(input_ids=ids_BS, attention_mask=keep_BS).logits
    allow(model)
    assert model.config._attn_implementation == ATTENTION
    torch.testing.assert_close(model(input_ids=ids_BS, attention_mask=keep_BS).logits, before, atol=0, rtol=0)
    assert ATTENTION not in model.config.to_json_string()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_last_block_computes_only_what_is_read_and_gradients_are_those_of_each_row(checkpointing: bool) -> None:
    model = network("llama", GROUPED)
    alone(model)[1].pow(2).sum().backward()  # type: ignore[no-untyped-call]
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad()
    allow(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    seen: list[tuple[int, int]] = []
    for number, layer in enumerate(model.model.layers):
        layer.mlp.act_fn.register_forward_hook(lambda _, __, found, n=number: seen.append((n, found.shape[1])))
    states_and_logits(model, Packed.of(ROWS, CPU), wanted=False)[1].pow(2).sum().backward()  # type: ignore[no-untyped-call]
    assert set(seen) == {(0, 15), (1, 15 if checkpointing else 8)}
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], atol=1e-4, rtol=1e-4)


def test_a_sequence_can_be_read_at_its_end() -> None:
    assert Packed.ends([[7, 8], [9], [1, 2, 3]], CPU).before_N.tolist() == [1, 2, 5]


def test_tokens_are_one_after_the_other_and_completions_are_found() -> None:
    rows = Packed.of(ROWS, CPU)
    assert rows.ids_1S.tolist() == [[7, 8, 9, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11]]
    assert rows.position_1S.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]]
    assert rows.before_N.tolist() == [0, 1, 6, 9, 10, 11, 12, 13]
    assert rows.token_1N.tolist() == [[8, 9, 5, 7, 8, 9, 10, 11]]


def test_numbers_of_tokens_go_where_batches_have_them() -> None:
    keep_BT = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    values_1N = torch.arange(1.0, 9)[None].requires_grad_()
    aligned_BT = Packed.of(ROWS, CPU).aligned(values_1N, keep_BT)
    assert aligned_BT.tolist() == [[1, 2, 0, 0, 0], [3, 0, 0, 0, 0], [4, 5, 6, 7, 8]]
    aligned_BT.sum().backward()  # type: ignore[no-untyped-call]
    assert values_1N.grad is not None and values_1N.grad.tolist() == [[1] * 8]

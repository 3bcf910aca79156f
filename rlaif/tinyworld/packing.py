"""Several prompts with one beginning, read together: the beginning is computed once.

Every part (the rest of a prompt, and its answer) attends to the shared beginning and to itself, at the positions that
it would have alone. So a packed row is exactly as many separate prompts, at a fraction of the cost; `hidden` is
transformers' Llama forward pass for that layout, with the last layer computed only where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import rms_norm, scaled_dot_product_attention
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb


class Row(NamedTuple):
    """The tokens of a shared beginning, and of every part's (rest of the prompt, answer)."""

    shared: Sequence[int]
    parts: Sequence[tuple[Sequence[int], Sequence[int]]]

    @property
    def size(self) -> int:
        """Tokens in all."""
        return len(self.shared) + sum(len(prompt) + len(answer) for prompt, answer in self.parts)


class Batch(NamedTuple):
    """R rows of one number of parts P, padded on the right: beginnings to length S, parts to length T.

    Positions are numbered through the flattened beginnings and then the flattened parts: `N = R*S + R*P*T`.
    """

    ids_N: torch.Tensor
    positions_N: torch.Tensor
    kept_RS: torch.Tensor  # True for the tokens of the beginnings, False for padding
    shape: tuple[int, int, int, int]  # R, S, P, T
    answered_M: torch.Tensor  # the positions whose next token is part of an answer, in the order of the rows
    answers_M: torch.Tensor  # those next tokens

    def shared_position(self, row: int, position: int) -> int:
        """Where token `position` of a row's beginning stands in the flattened batch."""
        return row * self.shape[1] + position


def collate(rows: Sequence[Row]) -> Batch:
    """Pad rows and number their positions."""
    count, parts = len(rows), len(rows[0].parts)
    longest = max(1, *(len(row.shared) for row in rows))
    part_longest = max(len(prompt) + len(answer) - 1 for row in rows for prompt, answer in row.parts)
    ids, positions, part_ids, part_positions, answered, answers = [], [], [], [], [], []
    for r, row in enumerate(rows):
        ids += [*row.shared, *[0] * (longest - len(row.shared))]
        positions += range(longest)
        for p, (prompt, answer) in enumerate(row.parts):
            tokens = [*prompt, *answer[:-1]]
            start = count * longest + (r * parts + p) * part_longest + len(prompt) - 1
            answered += range(start, start + len(answer))
            answers += answer
            part_ids += [*tokens, *[0] * (part_longest - len(tokens))]
            part_positions += range(len(row.shared), len(row.shared) + part_longest)
    sizes_R = torch.tensor([len(row.shared) for row in rows])
    return Batch(
        ids_N=torch.tensor(ids + part_ids),
        positions_N=torch.tensor(positions + part_positions),
        kept_RS=torch.arange(longest) < sizes_R[:, None],
        shape=(count, longest, parts, part_longest),
        answered_M=torch.tensor(answered),
        answers_M=torch.tensor(answers),
    )


def _attend(q_NHE: torch.Tensor, k_NHE: torch.Tensor, v_NHE: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Attention within the beginnings, and of every part to its beginning and itself: (N, H*E)."""
    R, S, P, T = batch.shape
    heads, width = q_NHE.shape[1:]

    def split(x_NHE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shared_RHSE = x_NHE[: R * S].view(R, S, heads, width).transpose(1, 2)
        return shared_RHSE, x_NHE[R * S :].view(R, P, T, heads, width).permute(0, 3, 1, 2, 4)

    (q_RHSE, q_RHPTE), (k_RHSE, k_RHPTE), (v_RHSE, v_RHPTE) = split(q_NHE), split(k_NHE), split(v_NHE)
    shared_RHSE = scaled_dot_product_attention(q_RHSE, k_RHSE, v_RHSE, is_causal=True)
    q_RHPTE = q_RHPTE * width**-0.5
    to_shared_RHPTS = (q_RHPTE.reshape(R, heads, P * T, width) @ k_RHSE.transpose(2, 3)).view(R, heads, P, T, S)
    to_shared_RHPTS = to_shared_RHPTS.masked_fill(~batch.kept_RS[:, None, None, None], -torch.inf)
    later_TT = torch.ones(T, T, dtype=torch.bool).triu(1)
    to_self_RHPTT = (q_RHPTE @ k_RHPTE.transpose(3, 4)).masked_fill(later_TT, -torch.inf)
    weights = torch.cat([to_shared_RHPTS, to_self_RHPTT], dim=-1).softmax(dim=-1)
    from_shared_RHPTE = (weights[..., :S].reshape(R, heads, P * T, S) @ v_RHSE).view(R, heads, P, T, width)
    parts_RHPTE = from_shared_RHPTE + weights[..., S:] @ v_RHPTE
    return torch.cat(
        [
            shared_RHSE.transpose(1, 2).reshape(R * S, heads * width),
            parts_RHPTE.permute(0, 2, 3, 1, 4).reshape(R * P * T, heads * width),
        ]
    )


def hidden(model: LlamaForCausalLM, batch: Batch, wanted_M: torch.Tensor) -> torch.Tensor:
    """The final hidden states at the flattened positions `wanted_M`: (M, D)."""
    body, eps = model.model, model.config.rms_norm_eps
    x_ND = body.embed_tokens(batch.ids_N)
    cos_1NE, sin_1NE = body.rotary_emb(x_ND, batch.positions_N[None])
    size = (len(batch.ids_N), model.config.num_attention_heads, -1)
    for number, layer in enumerate(body.layers):
        attention = layer.self_attn
        normed_ND = rms_norm(x_ND, x_ND.shape[-1:], layer.input_layernorm.weight, eps)
        q_NHE, k_NHE = attention.q_proj(normed_ND).view(size), attention.k_proj(normed_ND).view(size)
        q_1NHE, k_1NHE = apply_rotary_pos_emb(q_NHE[None], k_NHE[None], cos_1NE, sin_1NE, unsqueeze_dim=2)
        mixed_ND = _attend(q_1NHE[0], k_1NHE[0], attention.v_proj(normed_ND).view(size), batch)
        if number == len(body.layers) - 1:
            mixed_ND, x_ND = mixed_ND[wanted_M], x_ND[wanted_M]
        x_ND = x_ND + attention.o_proj(mixed_ND)
        x_ND = x_ND + layer.mlp(rms_norm(x_ND, x_ND.shape[-1:], layer.post_attention_layernorm.weight, eps))
    return rms_norm(x_ND, x_ND.shape[-1:], body.norm.weight, eps)

"""Log-probabilities, entropy and full-vocabulary KL of tokens, from logits.

All take the mask, and compute only the kept positions: NaN logits at padding can then reach neither the result nor the
gradient (a mask applied after the softmax would still send 0 * NaN back), and less memory is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 2**20  # logits that are exponentiated at once: a few MB, so that they stay near the processor
FEWEST_ROWS = 64


def _kept(logits_BTV: Tensor, keep_BT: Tensor, temperature: float) -> Tensor:
    """The logits of the kept positions, shape (kept, V)."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if logits_BTV.shape[:2] != keep_BT.shape or keep_BT.dtype != torch.bool:
        raise ValueError(f"keep must be boolean and of shape {tuple(logits_BTV.shape[:2])}")
    return logits_BTV.flatten(0, 1) if bool(keep_BT.all()) else logits_BTV[keep_BT]


def _kept_log_softmax(logits_BTV: Tensor, keep_BT: Tensor, temperature: float) -> Tensor:
    """Log-softmax of the kept positions in at least float32, shape (kept, V)."""
    return torch.log_softmax(_scaled(_kept(logits_BTV, keep_BT, temperature), temperature), dim=-1)


def _scaled(logits_NV: Tensor, temperature: float) -> Tensor:
    """logits / temperature in at least float32."""
    if logits_NV.dtype in (torch.float16, torch.bfloat16):
        logits_NV = logits_NV.float()
    return logits_NV if temperature == 1 else logits_NV / temperature


class _OfTokens(torch.autograd.Function):
    """Log-softmax at one token a row, which keeps no second array of the logits' size for the backward pass: only the
    normalisers, from which the softmax is computed again, some rows at a time."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, token_N: Tensor, temperature: float) -> Tensor:
        chosen, norms = [], []
        for rows_RV, token_R in zip(*_blocks(logits_NV, token_N), strict=True):
            scaled_RV = _scaled(rows_RV, temperature)
            logprobs_RV = scaled_RV.log_softmax(dim=-1)
            chosen.append(logprobs_RV.gather(1, token_R[:, None])[:, 0])
            norms.append(scaled_RV.amax(dim=-1) - logprobs_RV.amax(dim=-1))
        ctx.save_for_backward(logits_NV, token_N, torch.cat(norms))
        ctx.temperature = temperature
        return torch.cat(chosen)

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, None, None]:
        logits_NV, token_N, norm_N = ctx.saved_tensors
        grad_NV = torch.empty_like(logits_NV)
        grad_N = grad_N / ctx.temperature
        for out_RV, rows_RV, token_R, norm_R, grad_R in zip(
            *_blocks(grad_NV, logits_NV, token_N, norm_N, grad_N), strict=True
        ):
            softmax_RV = (_scaled(rows_RV, ctx.temperature) - norm_R[:, None]).exp_()
            softmax_RV.mul_(-grad_R[:, None]).scatter_add_(1, token_R[:, None], grad_R[:, None])
            out_RV.copy_(softmax_RV)
        return grad_NV, None, None


def _blocks(logits_NV: Tensor, *others_N: Tensor) -> list[tuple[Tensor, ...]]:
    """All of them some rows at a time."""
    rows = max(FEWEST_ROWS, BLOCK // max(1, logits_NV.shape[1]))
    return [torch.split(tensor, rows) for tensor in (logits_NV, *others_N)]


def of_tokens(logits_BTV: Tensor, token_BT: Tensor, keep_BT: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log p(token) under softmax(logits / temperature), shape (B, T), 0 where not kept.

    The logits at position t must be those that *predict* `token_BT[:, t]`: shifting by one is the caller's part. The
    temperature of sampling belongs in the policy's, the reference's and the training pass alike (N+, arXiv 2403.17031).

    Raises:
        ValueError: temperature is not positive, or the mask does not fit.
    """
    logits_NV = _kept(logits_BTV, keep_BT, temperature)
    chosen_N: Tensor = _OfTokens.apply(logits_NV, token_BT[keep_BT], temperature)  # type: ignore[no-untyped-call]
    return chosen_N.new_zeros(keep_BT.shape).masked_scatter(keep_BT, chosen_N)


def entropy(logits_BTV: Tensor, keep_BT: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Entropy -sum_v p_v log p_v in nats of softmax(logits / temperature), shape (B, T), 0 where not kept.

    Vocabulary entries with logit -inf have p log p = 0 and pass no gradient.

    Raises:
        ValueError: temperature is not positive, or the mask does not fit.
    """
    logprobs_NV = _kept_log_softmax(logits_BTV, keep_BT, temperature)
    finite_NV = logprobs_NV.clamp(min=torch.finfo(logprobs_NV.dtype).min)  # 0 * -inf would be NaN
    entropy_N = -(logprobs_NV.exp() * finite_NV).sum(dim=-1)
    return entropy_N.new_zeros(keep_BT.shape).masked_scatter(keep_BT, entropy_N)


def forward_kl(ref_logits_BTV: Tensor, logits_BTV: Tensor, keep_BT: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(ref || pi) = sum_v ref_v (log ref_v - log pi_v) in nats over the whole vocabulary, (B, T), 0 where not kept.

    Both distributions are softmax(logits / temperature). Forward: the reference comes first, so that pi is drawn to
    cover all that the reference does (SuperHF, arXiv 2310.16763). Entries that the reference never takes add nothing.
    """
    ref_NV, logprobs_NV = (_kept_log_softmax(x, keep_BT, temperature) for x in (ref_logits_BTV, logits_BTV))
    term_NV = torch.where(ref_NV == -torch.inf, 0.0, ref_NV.exp() * (ref_NV - logprobs_NV))
    kl_N = term_NV.sum(dim=-1)
    return kl_N.new_zeros(keep_BT.shape).masked_scatter(keep_BT, kl_N)

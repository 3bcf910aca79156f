from __future__ import annotations

import math

import pytest
import torch

from rlaif.formulas import logprobs

LOGITS = torch.log(torch.tensor([[[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]], dtype=torch.float64)) + 7
KEEP = torch.tensor([[True, True]])


def test_logprobs_of_sampled_tokens() -> None:
    result = logprobs.of_tokens(LOGITS, torch.tensor([[1, 2]]), KEEP)
    assert result.tolist()[0] == pytest.approx([-1.2039728, -1.6094379], abs=1e-7)


def test_temperature_divides_the_logits() -> None:
    # At temperature 1/2 probabilities are squared: .09 / (.25 + .09 + .04)
    result = logprobs.of_tokens(LOGITS, torch.tensor([[1, 1]]), KEEP, temperature=0.5)
    assert result[0, 0].exp().item() == pytest.approx(0.2368421, abs=1e-7)
    assert logprobs.entropy(LOGITS, KEEP, temperature=1e6)[0, 0].item() == pytest.approx(math.log(3), abs=1e-6)


def test_entropy() -> None:
    assert logprobs.entropy(LOGITS, KEEP).tolist()[0] == pytest.approx([1.0296530, 1.0296530], abs=1e-7)


def test_impossible_tokens_add_no_entropy_and_no_gradient() -> None:
    logits = torch.tensor([[[0.0, 1.0, -math.inf]]], requires_grad=True)
    entropy = logprobs.entropy(logits, torch.tensor([[True]]))
    torch.autograd.backward(entropy.sum())
    assert entropy.item() == pytest.approx(0.5822031, abs=1e-6)  # of (.268941, .731059)
    assert logits.grad is not None
    assert logits.grad[0, 0].isfinite().all() and logits.grad[0, 0, 2] == 0


def test_nan_logits_at_padding_reach_neither_result_nor_gradient() -> None:
    logits = torch.zeros(1, 3, 4)
    logits[0, 2] = math.nan
    logits.requires_grad_()
    keep = torch.tensor([[True, True, False]])
    result = logprobs.of_tokens(logits, torch.tensor([[0, 3, 0]]), keep)
    torch.autograd.backward(result.sum() + logprobs.entropy(logits, keep).sum())
    assert result.tolist()[0] == pytest.approx([-math.log(4), -math.log(4), 0])
    assert logits.grad is not None
    assert logits.grad[0, 0].tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25])
    assert not logits.grad[0, 2].any()


def test_half_precision_logits_give_float32() -> None:
    # Differences of log-probabilities near 5 are lost in bfloat16, whose step there is 1/32.
    logits = torch.tensor([[[0.0, 5.0]]], dtype=torch.bfloat16)
    result = logprobs.of_tokens(logits, torch.tensor([[0]]), torch.tensor([[True]]))
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(-5.0067153, abs=1e-6)


def test_gradients_are_those_of_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    logits_BTV, ref_BTV = torch.randn(2, 2, 3, 4, generator=generator, dtype=torch.float64)
    token_BT, keep_BT = torch.tensor([[0, 3, 1], [2, 2, 0]]), torch.tensor([[True, True, False], [True, False, False]])
    for formula in (
        lambda x: logprobs.of_tokens(x, token_BT, keep_BT, temperature=0.7),
        lambda x: logprobs.entropy(x, keep_BT, temperature=0.7),
        lambda x: logprobs.forward_kl(ref_BTV, x, keep_BT, temperature=0.7),
    ):
        assert torch.autograd.gradcheck(formula, (logits_BTV.clone().requires_grad_(),))


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    logits_BTV = torch.randn(2, 5, 4, generator=generator)
    token_BT = torch.randint(4, (2, 5), generator=generator)
    keep_BT = torch.tensor([[True] * 5, [True, True, False, False, False]])

    def found() -> tuple[torch.Tensor, torch.Tensor]:
        given = logits_BTV.clone().requires_grad_()
        result = logprobs.of_tokens(given, token_BT, keep_BT, temperature=0.7)
        torch.autograd.backward((result * torch.arange(10).view(2, 5)).sum())
        assert given.grad is not None
        return result.detach(), given.grad

    whole = found()
    monkeypatch.setattr(logprobs, "FEWEST_ROWS", 3)
    monkeypatch.setattr(logprobs, "BLOCK", 12)
    for one, other in zip(whole, found(), strict=True):
        assert torch.equal(one, other)
    none_BT = torch.zeros(2, 5, dtype=torch.bool)
    assert not logprobs.of_tokens(logits_BTV, token_BT, none_BT).any()


def test_nothing_of_the_size_of_the_logits_is_kept_but_themselves() -> None:
    logits_BTV = torch.randn(1, 100, 1000, requires_grad=True)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logprobs.of_tokens(logits_BTV, torch.zeros(1, 100, dtype=torch.long), torch.ones(1, 100, dtype=torch.bool))
    large = {tensor.data_ptr() for tensor in kept if tensor.numel() >= logits_BTV.numel()}
    assert large == {logits_BTV.data_ptr()}


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        logprobs.of_tokens(LOGITS, torch.tensor([[1, 1]]), KEEP, temperature=temperature)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="keep"):
        logprobs.entropy(LOGITS, torch.ones(2, 1, dtype=torch.bool))


def test_forward_kl_by_hand() -> None:
    # pi = (.5, .5), ref = (.25, .75): .25 log .5 + .75 log 1.5 = .130812; at equal distributions 0.
    logits_BTV = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [math.nan, 0.0]]], dtype=torch.float64, requires_grad=True)
    ref_BTV = torch.tensor([[[0.0, math.log(3)], [3.0, 4.0], [0.0, math.nan]]], dtype=torch.float64)
    keep_BT = torch.tensor([[True, True, False]])
    kl_BT = logprobs.forward_kl(ref_BTV, logits_BTV, keep_BT)
    assert kl_BT.tolist()[0] == pytest.approx([0.130812, 0, 0], abs=1e-6)
    (gradient,) = torch.autograd.grad(kl_BT.sum(), logits_BTV)
    # d KL(ref || pi) / d logits = pi - ref
    torch.testing.assert_close(gradient[0, :2], torch.tensor([[0.25, -0.25], [0.0, 0.0]], dtype=torch.float64))
    assert not gradient[0, 2].any()


def test_forward_kl_ignores_what_the_reference_never_takes() -> None:
    logits_BTV = torch.tensor([[[0.0, 0.0, -math.inf]]], requires_grad=True)
    ref_BTV = torch.tensor([[[0.0, -math.inf, -math.inf]]])
    kl_BT = logprobs.forward_kl(ref_BTV, logits_BTV, torch.tensor([[True]]))
    assert kl_BT.item() == pytest.approx(math.log(2))
    (gradient,) = torch.autograd.grad(kl_BT.sum(), logits_BTV)
    assert gradient[0, 0].tolist() == pytest.approx([-0.5, 0.5, 0.0])


def test_forward_kl_has_the_temperature_in_both() -> None:
    logits_BTV, ref_BTV = torch.randn(2, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    keep_BT = torch.ones(1, 3, dtype=torch.bool)
    halved = logprobs.forward_kl(ref_BTV / 0.5, logits_BTV / 0.5, keep_BT)
    torch.testing.assert_close(logprobs.forward_kl(ref_BTV, logits_BTV, keep_BT, temperature=0.5), halved)

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from rlaif.engines.learner.optimiser import Trained, take_step
from rlaif.engines.learner.rows import Part
from rlaif.ports.learner import Optimisation
from rlaif.records.errors import RunHalted
from tests.engines.learner.material import STEADY

WHOLE = [Part([0], counts=True)]


class Share(NamedTuple):
    total: Tensor
    stats: dict[str, Tensor]


def network(settings: Optimisation = STEADY) -> Trained:
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0]]))
        model.bias.fill_(0.5)
    return Trained(model, settings)


def share(net: Trained, scale: float = 1.0) -> Share:
    total = scale * net.model(torch.tensor([[3.0, 4.0]])).sum()
    return Share(total, {"loss": total.detach()})


def rates(settings: Optimisation, steps: int) -> list[float]:
    net, found = network(settings), []
    for _ in range(steps):
        found.append(take_step({"": net}, WHOLE, lambda _: share(net))["learning_rate"])
    return found


def test_the_rate_warms_up_and_decays_to_zero_after_the_last_step() -> None:
    settings = STEADY._replace(learning_rate=1.0, warmup_steps=4, total_steps=10)
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0]
    assert rates(settings, 12) == pytest.approx(expected)


def test_without_total_the_rate_stays() -> None:
    assert rates(STEADY._replace(warmup_steps=2), 4) == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])


def test_a_run_shorter_than_its_warm_up_never_reaches_the_full_rate() -> None:
    assert max(rates(STEADY._replace(learning_rate=1.0, warmup_steps=10, total_steps=5), 5)) <= 0.5


def test_the_gradient_is_clipped_and_its_norm_before_that_reported() -> None:
    net = network(STEADY._replace(gradient_clip=0.5))
    stats = take_step({"": net}, WHOLE, lambda _: share(net))
    assert stats["grad_norm"] == pytest.approx(26**0.5)  # gradient (3, 4) and 1
    assert sum(float(p.grad.square().sum()) for p in net.model.parameters() if p.grad is not None) == pytest.approx(
        0.25, rel=1e-4
    )


def test_the_first_adam_step_is_the_learning_rate() -> None:
    net = network()
    take_step({"": net}, WHOLE, lambda _: share(net, 100.0))
    assert net.model.weight.tolist()[0] == pytest.approx([1.0 - 1e-3, -2.0 - 1e-3], abs=1e-7)  # type: ignore[operator]


def test_weight_decay_spares_biases() -> None:
    net = network(STEADY._replace(weight_decay=0.1))
    take_step({"": net}, WHOLE, lambda _: share(net, 0.0))
    assert net.model.weight.tolist()[0] == pytest.approx([0.9999, -1.9998])  # type: ignore[operator]
    assert net.model.bias.tolist() == [0.5]  # type: ignore[operator]


def test_no_network_moves_when_another_has_no_finite_gradient() -> None:
    good, bad = network(), network()

    def losses() -> Share:
        total = good.model(torch.ones(1, 2)).sum() + (bad.model(torch.ones(1, 2)).sum() + 0.5).sqrt().sum()
        return Share(total, {"loss": total.detach()})

    assert bad.model(torch.ones(1, 2)).item() == -0.5  # so that the root is at 0, where its slope is infinite
    with pytest.raises(RunHalted, match="gradient"):
        take_step({"": good, "value_": bad}, WHOLE, lambda _: losses())
    for net in (good, bad):
        assert net.model.weight.tolist() == [[1.0, -2.0]]  # type: ignore[operator]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_stat_that_is_no_number_halts(wrong: float) -> None:
    net = network()
    with pytest.raises(RunHalted, match="clip_fraction"):
        take_step({"": net}, WHOLE, lambda _: share(net)._replace(stats={"clip_fraction": torch.tensor(wrong)}))
    assert net.model.weight.tolist() == [[1.0, -2.0]]  # type: ignore[operator]


def test_a_step_begins_without_what_a_halted_one_left() -> None:
    net, other = network(), network()
    with pytest.raises(RunHalted):
        take_step({"": net}, WHOLE, lambda _: share(net, float("nan")))
    assert take_step({"": net}, WHOLE, lambda _: share(net)) == take_step({"": other}, WHOLE, lambda _: share(other))

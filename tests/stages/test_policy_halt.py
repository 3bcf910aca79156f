"""A number that is NaN or infinite: no weight moves, the batch is left to look at, and the last checkpoint stands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlaif.engines.learner.policy import HfPolicy
from rlaif.engines.learner.reward import HfRewardScorer
from rlaif.ports.engines import Engines
from rlaif.ports.halt import HaltedRow
from rlaif.records.errors import NotFinite
from rlaif.records.files import file_digest, read_rows
from rlaif.stages import policy
from tests.faults import training
from tests.faults.training import Heard, inputs, settings


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.world(tmp_path_factory.mktemp("halt"))


def spoiled(method: Callable[..., Any], call: int, spoil: Callable[[Any], None]) -> Callable[..., Any]:
    """The method, with its result of this call spoiled."""
    calls = 0

    def spoiling(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        found = method(*arguments, **named)
        if calls == call:
            spoil(found)
        return found

    return spoiling


def halted(world: Path, out: Path, **changes: Any) -> NotFinite:
    with pytest.raises(NotFinite) as caught:
        policy.run(settings(**changes), Engines(), inputs(world, out))
    assert not (out / "model").exists()
    return caught.value


def first_entry(tensor: torch.Tensor) -> None:
    tensor.view(-1)[0] = math.nan


def value_entry(found: dict[str, torch.Tensor]) -> None:
    first_entry(found["values_BT"])


def score_entry(scores: list[float]) -> None:
    scores[5] = math.inf


FAULTS: list[tuple[Any, str, int, Callable[[Any], None], str]] = [
    (HfPolicy, "logprobs", 5, first_entry, "logprobs_BT is nan in row 0, token 0"),  # 2 an update with a checkpoint
    (HfPolicy, "values", 5, value_entry, "values_BT is nan in row 0, token 0"),
    (HfPolicy, "reference_logprobs", 3, first_entry, "ref_logprobs_BT is nan in row 0, token 0"),
    (HfRewardScorer, "score", 3, score_entry, "scores_B is inf in row 5"),
]


@pytest.mark.parametrize(("owner", "method", "call", "spoil", "said"), FAULTS)
def test_the_tensor_is_named_the_batch_is_there_and_the_checkpoint_stands(
    world: Path, tmp_path: Path, owner: Any, method: str, call: int, spoil: Any, said: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, spoiled(getattr(owner, method), call, spoil))
        error = halted(world, tmp_path)
    assert str(error).startswith(said)
    assert f"(update 3); the batch is in {tmp_path / 'halted'}; the checkpoint of update 2 stands" in str(error)
    written = json.loads((tmp_path / "halted/halted.json").read_text())
    assert written["update"] == 3 and written["checkpoint"] == 2 and written["tensor"] == said.split(" is ")[0]
    batch = load_file(tmp_path / "halted/batch.safetensors")
    assert not bool(batch["not_finite"].isfinite().all())
    rows = read_rows(tmp_path / "halted/replies.jsonl", HaltedRow, "halted")
    assert [row.row for row in rows] == list(range(8)) and batch["completion_BT"].shape[0] == 8
    assert {row.prompt.messages[0].content for row in rows} <= {f"question {i}?" for i in range(12)}


def test_the_same_command_goes_on_after_a_halt_and_ends_like_one_that_was_not_halted(
    world: Path, tmp_path: Path
) -> None:
    policy.run(settings(), Engines(), inputs(world, tmp_path / "whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HfPolicy, "logprobs", spoiled(HfPolicy.logprobs, 5, first_entry))
        halted(world, tmp_path / "torn")
    heard = Heard()
    policy.run(settings(), Engines(reporter=heard), inputs(world, tmp_path / "torn"))
    assert "policy: going on from the checkpoint of update 2" in heard.lines
    assert file_digest(tmp_path / "torn/model") == file_digest(tmp_path / "whole/model")


def norms(model: Any) -> Iterator[torch.Tensor]:
    yield from (p for name, p in model.named_parameters() if name.endswith("norm.weight"))


@pytest.mark.parametrize(("network", "weight"), [("policy", "model."), ("value", "value_body.")])
def test_a_gradient_that_is_nan_names_the_weight_and_no_weight_moves(
    world: Path, tmp_path: Path, network: str, weight: str
) -> None:
    before: dict[str, torch.Tensor] = {}
    learners: list[HfPolicy] = []
    build = HfPolicy.__init__

    def planted(self: HfPolicy, *arguments: Any, **named: Any) -> None:
        build(self, *arguments, **named)
        learners.append(self)
        before.update(
            {f"{n}.{k}": v.clone() for n, t in self._networks.items() for k, v in t.model.state_dict().items()}
        )
        hooked: Any = next(norms(self._networks[network].model))
        hooked.register_hook(lambda gradient: torch.full_like(gradient, math.nan))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HfPolicy, "__init__", planted)
        error = halted(world, tmp_path)
    assert str(error).startswith(
        f"the gradient of {weight}layers.0."
    ) and "norm.weight has 64 of 64 entries NaN" in str(error)
    assert "weights are unchanged" in str(error) and "there is no checkpoint yet" in str(error)
    after = {f"{n}.{k}": v for n, t in learners[0]._networks.items() for k, v in t.model.state_dict().items()}
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    batch = load_file(tmp_path / "halted/batch.safetensors")
    assert {"scores_B", "values_BT", "logprobs_BT", "not_finite"} <= batch.keys()
    rows = read_rows(tmp_path / "halted/replies.jsonl", HaltedRow, "halted")
    assert [row.score for row in rows] == pytest.approx(batch["scores_B"].tolist())


@pytest.mark.parametrize("rate", [1e30, 1e39])  # weights that are finite and useless, and weights that are infinite
@pytest.mark.parametrize("steps", [1, 2])
def test_a_step_that_ruins_the_weights_leaves_no_checkpoint_of_them(
    world: Path, tmp_path: Path, rate: float, steps: int
) -> None:
    """With one step an update the ruin is there when the checkpoint is due; with two, the next step meets it."""
    chosen = {"epochs": steps, "minibatches": 1}
    error = halted(world, tmp_path, learning_rate=rate, settings=chosen, updates=1)
    assert "(update 1)" in str(error) and "there is no checkpoint yet" in str(error)
    assert not (tmp_path / "checkpoint").exists()


def test_ruined_weights_do_not_pass_for_a_defect_when_they_sample(world: Path, tmp_path: Path) -> None:
    """No checkpoint is due after the step, so that the next thing that the ruined policy does is to sample."""
    chosen = {"epochs": 1, "minibatches": 1}
    error = halted(world, tmp_path, learning_rate=1e30, settings=chosen, checkpoint_every=3)
    assert "(update 2)" in str(error) and (tmp_path / "halted/halted.json").is_file()


def test_a_damaged_checkpoint_is_not_used_and_people_hear_which_one_is(world: Path, tmp_path: Path) -> None:
    policy.run(settings(updates=3), Engines(), inputs(world, tmp_path / "whole"))
    policy.run(settings(updates=3), Engines(), inputs(world, tmp_path / "torn"))
    state = tmp_path / "torn/checkpoint/update-000003/learner.pt"
    size = state.stat().st_size
    with state.open("r+b") as stream:
        stream.truncate(1200)
    heard = Heard()
    policy.run(settings(updates=3), Engines(reporter=heard), inputs(world, tmp_path / "torn"))
    damage = f"the checkpoint of update 3 is damaged (learner.pt is 1,200 bytes, not {size:,})"
    assert f"policy: {damage}; going on from the checkpoint of update 2" in heard.lines
    for name in ("model", "metrics.jsonl", "checkpoint"):
        assert file_digest(tmp_path / "torn" / name) == file_digest(tmp_path / "whole" / name)

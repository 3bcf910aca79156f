"""The one-file PPO says what the package computes: every function of its mathematics on the same tensors, and a whole
minibatch on the same networks."""

from __future__ import annotations

import ast
import importlib.util
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from rlaif.algorithms import ppo as package
from rlaif.batches import Rollouts
from rlaif.engines.learner.policy import HfPolicy
from rlaif.formulas import advantages, kl, losses, masked, shaping
from rlaif.ports.learner import Optimisation
from tests.tiny import tiny_model

FILE = Path(__file__).parents[2] / "examples" / "ppo_in_one_file.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ppo_in_one_file", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up annotations
    spec.loader.exec_module(module)
    return module


one = load()


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def kept(tensor: Tensor) -> Tensor:
    return torch.ones_like(tensor, dtype=torch.bool)


# Numbers worked by hand.


def test_token_rewards_by_hand() -> None:
    logprobs, reference = row(-1, -2, -0.5), row(-1.5, -1, -0.5)
    rewards = one.token_rewards(logprobs, reference, torch.tensor([2.0]), kept(logprobs), 0.1)
    torch.testing.assert_close(rewards, row(-0.05, 0.1, 2.0))


@pytest.mark.parametrize(
    ("gamma", "lam", "expected"),
    [
        (1, 0.95, (0.17575, 0.185, 0.3)),
        (1, 1, (0.2, 0.2, 0.3)),
        (1, 0, (0, -0.1, 0.3)),
        (0.99, 0.95, (0.158729, 0.17515, 0.3)),
    ],
)
def test_gae_by_hand(gamma: float, lam: float, expected: tuple[float, ...]) -> None:
    rewards, values = row(-0.1, -0.2, 1.0), row(0.5, 0.6, 0.7)
    found, returns = one.gae(rewards, values, kept(values), gamma, lam)
    torch.testing.assert_close(found, row(*expected), atol=1e-6, rtol=0)
    torch.testing.assert_close(returns, row(*expected) + values, atol=1e-6, rtol=0)


def test_whitening_by_hand() -> None:
    values = row(0.17575, 0.185, 0.3)
    torch.testing.assert_close(one.whiten(values, kept(values)), row(-0.78736, -0.62369, 1.41105), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "clipped"),
    [
        (1.5, 1, -1.2, True),
        (1.5, -1, 1.5, False),
        (0.5, 1, -0.5, False),
        (0.5, -1, 0.8, True),
        (5, -1, 3, True),
    ],
)
def test_policy_loss_by_hand(ratio: float, advantage: float, expected: float, clipped: bool) -> None:
    logprob = row(math.log(ratio)).requires_grad_()
    loss, in_force = one.policy_loss(logprob, row(0), row(advantage), kept(logprob), 0.2, 3.0)
    loss.sum().backward()
    assert loss.item() == pytest.approx(expected)
    assert in_force.item() == clipped
    assert logprob.grad is not None
    assert (logprob.grad.item() == 0) == clipped


def test_value_loss_by_hand() -> None:
    assert one.value_loss(row(1.5), row(1), row(2), kept(row(1)), 0.2).item() == pytest.approx(0.32)


def test_kl_controller_by_hand() -> None:
    assert one.next_kl_coefficient(0.2, 9, 6, 512, 10_000) == pytest.approx(0.202048)
    assert one.next_kl_coefficient(0.2, 5.4, 6, 512, 10_000) == pytest.approx(0.198976)
    assert one.next_kl_coefficient(0.2, 9, 6, 512, math.inf) == 0.2


# The package, on the same tensors.


class Tensors:
    """Random numbers per token and per row, NaN at the padding of random lengths."""

    def __init__(self, lengths: list[int], seed: int) -> None:
        self.chance = torch.Generator().manual_seed(seed)
        self.keep_BT = torch.arange(max(lengths) + 1) < torch.tensor(lengths).unsqueeze(1)

    def per_token(self, scale: float = 1.0) -> Tensor:
        drawn = scale * torch.randn(self.keep_BT.shape, generator=self.chance, dtype=torch.float64)
        return drawn.masked_fill(~self.keep_BT, math.nan)

    def per_row(self) -> Tensor:
        return torch.randn(len(self.keep_BT), generator=self.chance, dtype=torch.float64)


tensors = st.builds(
    Tensors, st.lists(st.integers(1, 6), min_size=1, max_size=5).filter(lambda x: sum(x) > 1), st.integers(0, 2**32)
)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def gradient(loss: Tensor, leaf: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss.sum(), leaf)
    return found


@given(tensors, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_rewards_advantages_and_whitening_are_the_packages(x: Tensors, beta: float, gamma: float, lam: float) -> None:
    logprobs, reference, values, scores = x.per_token(), x.per_token(), x.per_token(), x.per_row()
    rewards = one.token_rewards(logprobs, reference, scores, x.keep_BT, beta)
    same(rewards, shaping.token_rewards(logprobs, reference, scores, x.keep_BT, beta))
    found, expected = (f(rewards, values, x.keep_BT, gamma, lam) for f in (one.gae, advantages.gae))
    same(found[0], expected.advantages_BT)
    same(found[1], expected.returns_BT)
    same(one.whiten(values, x.keep_BT), masked.whiten(values, x.keep_BT))


@given(tensors, st.floats(0.05, 0.5), st.floats(1.1, 4))
def test_losses_and_their_gradients_are_the_packages(x: Tensors, clip: float, dual: float) -> None:
    new, old, other = x.per_token().requires_grad_(), x.per_token(), x.per_token()
    loss, clipped = one.policy_loss(new, old, other, x.keep_BT, clip, dual)
    expected = losses.clipped_policy(new, old, other, x.keep_BT, clip_range=clip, dual_clip=dual)
    same(loss, expected.loss_BT)
    same(gradient(loss, new), gradient(expected.loss_BT, new))
    assert torch.equal(clipped, expected.clipped_BT)
    loss = one.value_loss(new, old, other, x.keep_BT, clip)
    expected_loss = losses.clipped_value(new, old, other, x.keep_BT, clip_range=clip)
    same(loss, expected_loss)
    same(gradient(loss, new), gradient(expected_loss, new))


@given(st.floats(0.01, 1), st.floats(-5, 50), st.floats(0.1, 20), st.integers(1, 1000), st.floats(100, 1e5))
def test_the_controller_is_the_packages(beta: float, observed: float, target: float, n: int, horizon: float) -> None:
    expected = kl.adaptive_coefficient(beta, observed, target, n, horizon)
    assert one.next_kl_coefficient(beta, observed, target, n, horizon) == pytest.approx(expected)


# Networks.

PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 15]]
COMPLETIONS = [[20, 3], [21, 22, 23, 24, 25, 3], [26], [27, 28, 29, 30]]  # 3 ends a sequence
CONFIG = one.Config(temperature=0.7, micro_batch=3, max_tokens=12, missing_eos_penalty=0.5)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("models") / "llama"))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with learned positions and, as it is configured, dropout."""
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 320}
    model: Any = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.3, eos_token_id=3))  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    return str(folder)


def rollouts() -> Rollouts:
    engine = [[-1.0] * len(completion) for completion in COMPLETIONS]
    finished = [completion[-1] == 3 for completion in COMPLETIONS]
    return Rollouts.from_lists(PROMPTS, COMPLETIONS, engine, finished, pad_id=0)


def samples() -> Any:
    """The rollouts, in the file's own type."""
    x = rollouts()
    ids, real = torch.cat([x.prompt_BP, x.completion_BT], 1), torch.cat([x.prompt_keep_BP, x.keep_BT], 1)
    return one.Samples(ids, real, x.keep_BT, x.finished_B, x.engine_logprobs_BT)


def norm(network: torch.nn.Module) -> float:
    return math.sqrt(sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_padding_changes_no_log_probability(name: str, request: pytest.FixtureRequest) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(request.getfixturevalue(name))
    model.eval()
    with torch.no_grad():
        found = one.token_logprobs(model, samples(), 0.7)
        for at, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
            alone = (model(torch.tensor([prompt + completion])).logits[0] / 0.7).log_softmax(-1)
            expected = [float(alone[len(prompt) - 1 + t, token]) for t, token in enumerate(completion)]
            assert found[at, : len(completion)].tolist() == pytest.approx(expected, abs=1e-4)
            assert not found[at, len(completion) :].any()


def test_a_minibatch_has_the_learners_numbers_and_gradients(llama: str) -> None:
    optimisation = Optimisation(
        learning_rate=1e-3, weight_decay=0, gradient_clip=1, micro_batch=2, total_steps=0, warmup_steps=0
    )
    learner = HfPolicy(
        llama, value_models={}, optimisation=optimisation, value_learning_rate=1e-3, temperature=0.7, seed=0
    )
    value: Any = learner._networks["value"].model
    models = one.load(replace(CONFIG, model=llama))
    models.value.head.load_state_dict(value.head.state_dict())
    with torch.no_grad():  # so that there is a KL
        for policy in (models.policy, learner._policy.model):
            policy.get_parameter("lm_head.weight").mul_(1.1)

    drawn, scores = rollouts(), torch.tensor([1.0, -0.5, 0.3, 0.8])
    scored = drawn.scored(
        logprobs_BT=learner.logprobs(drawn),
        ref_logprobs_BT=learner.reference_logprobs(drawn),
        scores_B=scores,
    ).valued(**learner.values(drawn))
    settings = package.Config(missing_eos_penalty=0.5)
    expected = package.prepare(scored, settings, {"kl_coefficient": 0.05})
    batch = one.prepare(models, samples(), scores, 0.05, CONFIG)
    for name in ("logprobs_BT", "values_BT", "advantages_BT", "returns_BT"):
        torch.testing.assert_close(getattr(batch, name), getattr(expected, name), atol=1e-4, rtol=1e-4)
    assert float(batch.kl_B.mean()) == pytest.approx(package.observe(expected).kl, abs=1e-4)

    moved = 0.3 * torch.randn(batch.logprobs_BT.shape, generator=torch.Generator().manual_seed(0))
    both = {"logprobs_BT": batch.logprobs_BT + masked.fill(moved, drawn.keep_BT), "values_BT": batch.values_BT + moved}
    same_importance = {"importance_BT": masked.fill(torch.ones_like(moved), drawn.keep_BT)}
    loss = partial(package.loss, config=settings)
    stats = learner.step(replace(expected, **both, **same_importance), loss)
    found = one.accumulate(models, batch._replace(**both), CONFIG)
    assert 0 < stats["clip_fraction"] < 1
    assert found["clip"] == pytest.approx(stats["clip_fraction"])
    assert norm(models.policy) == pytest.approx(stats["grad_norm"], rel=1e-4)
    assert norm(models.value) == pytest.approx(stats["value_grad_norm"], rel=1e-4)


def test_micro_batches_leave_the_gradient_as_it_is(llama: str) -> None:
    gradients = []
    for size in (1, len(PROMPTS)):
        config = replace(CONFIG, model=llama, micro_batch=size)
        models = one.load(config)
        batch = one.prepare(models, samples(), torch.tensor([1.0, -0.5, 0.3, 0.8]), 0.05, config)
        one.accumulate(models, batch, config)
        parameters = [*models.policy.parameters(), *models.value.parameters()]
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    assert gradients[1].abs().max() > 1e-2
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_samples_are_of_the_policy_that_is_trained(name: str, request: pytest.FixtureRequest) -> None:
    config = replace(CONFIG, model=request.getfixturevalue(name), max_tokens=24, temperature=5.0, micro_batch=32)
    models = one.load(config)
    # Ends, pads and prompts share id 3: only masks can tell them apart.
    prompt, real = torch.tensor([[3, 3, 9], [5, 6, 7]] * 32), torch.tensor([[False, False, True], [True] * 3] * 32)
    eos = torch.arange(3, 12)
    torch.manual_seed(0)
    drawn = one.sample(models.policy, prompt, real, eos, config)
    ends = torch.isin(drawn.ids_BS[:, 3:], eos)
    for row_keep, row_ends, finished in zip(drawn.keep_BT, ends, drawn.finished_B, strict=True):
        length = int(row_keep.sum())
        assert row_keep[:length].all() and length > 0
        assert not row_ends[: length - 1].any()
        assert bool(row_ends[length - 1]) == bool(finished)
    assert 0 < drawn.finished_B.sum() < 64
    assert (drawn.ids_BS[:, 3:][drawn.keep_BT] == 3).any()

    batch = one.prepare(models, drawn, torch.zeros(64), 0.05, config)
    optimizer = torch.optim.SGD(models.policy.parameters(), lr=0.0)
    assert one.learn(models, optimizer, batch, config)["canary"] < 1e-4
    with pytest.raises(RuntimeError, match="before any step"):
        one.learn(models, optimizer, batch, replace(config, temperature=1.0))


# The program.


def test_three_updates_move_the_weights_and_print_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = one.Config(updates=3, batch=8, max_tokens=24, warmup=0, kl_horizon=100.0, out=str(tmp_path))
    history = one.train(config, lambda prompt, reply: float(len(prompt) + len(reply)) / 100)
    assert all(math.isfinite(value) for line in history for value in line.values())
    assert abs(history[0]["kl"]) < 1e-4 < abs(history[-1]["kl"])
    assert len(capsys.readouterr().out.splitlines()) == 3
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (config.model, tmp_path))
    assert all(bool((before[name].float() != after[name]).any()) for name in before)


def test_a_reward_without_an_answer_stops_the_run() -> None:
    config = one.Config(updates=1, batch=2, max_tokens=2)
    with pytest.raises(TypeError, match="NoneType"):
        one.train(config, lambda prompt, reply: None)
    with pytest.raises(RuntimeError, match="non-finite"):
        one.train(config, lambda prompt, reply: math.nan)


def test_the_default_reward_counts_sentences() -> None:
    assert [one.two_sentences("", text) for text in ("One.", "One. Two!", "1.5 is one? Yes.", "", "A. B. C.")] == [
        *(0, 1, 1, 0, 0)
    ]


def test_it_stands_alone() -> None:
    nodes = list(ast.walk(ast.parse(FILE.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names = {name.split(".")[0] for name in plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}}
    assert names - sys.stdlib_module_names == {"torch", "transformers"}


def test_flags_are_the_settings_and_a_reward_may_be_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def brief(prompt, reply):\n    return 7.0\n")
    Path("mine.jsonl").write_text('{"prompt": "How do I bake bread?"}\n')
    flags = ["--reward", "mine.py:brief", "--prompts", "mine.jsonl"]
    for name, value in {"updates": 1, "batch": 2, "minibatches": 1, "max_tokens": 3}.items():
        flags += [f"--{name}", str(value)]
    monkeypatch.setattr(sys, "argv", ["ppo_in_one_file.py", *flags])
    one.main()
    assert "score 7 " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["ppo_in_one_file.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        one.main()
    assert "--kl_coefficient" in capsys.readouterr().out

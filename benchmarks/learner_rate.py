"""How near PPO's learner comes to this machine's arithmetic: `python benchmarks/learner_rate.py [--threads N]`.

A Llama of 4M parameters and width 256 with random weights learns from made-up completions of different lengths, in
float32: log-probabilities, reference, values, advantages and all optimiser steps, everything that an update does after
sampling and scoring. Its floating-point operations are counted as they are needed: two per weight of a matrix and token
that it has to see, the vocabulary and the last layer's feed-forward block at completion tokens alone, causal attention
at half of the square, three times that where it trains; nothing for pads, norms, softmax or the optimiser. The rate is
compared to that of `torch.mm` at the shapes of the same model, forward and backward, as many tokens as a micro-batch
has. Both are measured in turns, by processor time, which other users of the machine disturb less than the clock.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlaif.batches import Rollouts
from rlaif.engines import tokens
from rlaif.engines.learner.network import fresh_classifier, save_model
from rlaif.ports import registry
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Optimisation, PolicyLearner
from rlaif.ports.rewards import Scores
from rlaif.stages import policy

MODEL = "tinyworld/policy"  # for its tokens
WIDTH, INNER, LAYERS, VOCABULARY = 256, 768, 4, 1024
ROWS, EPOCHS, MINIBATCHES = 64, 2, 4
TARGET = 0.6
FORWARD = ((WIDTH, INNER), (WIDTH, INNER), (INNER, WIDTH))  # inputs and outputs of its matrices
LAYER = (*[(WIDTH, WIDTH)] * 4, *FORWARD)
HEAD = (WIDTH, VOCABULARY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    engines = Engines()
    engines.use_threads(options.threads)
    learner = learner_of(engines)
    rollouts = made_up()
    needed = operations(rollouts)
    batch_tokens = int(rollouts.prompt_keep_BP.sum() + rollouts.keep_BT.sum()) // MINIBATCHES
    algorithm = registry.load("algorithm", "ppo")
    settings = algorithm.Config(epochs=EPOCHS, minibatches=MINIBATCHES)

    def update() -> None:
        scored = policy.view(learner, rollouts, Scores([0.0] * ROWS, {}, None), list(range(ROWS)))
        policy.learn(algorithm, settings, learner, scored, algorithm.start(settings), 0, 1)

    update()  # the first one builds buffers
    rates, limits = [], []
    for _ in range(options.repeats):
        limits.append(matmul_rate(batch_tokens))
        rates.append(needed / seconds(update))
    share = statistics.median(rate / limit for rate, limit in zip(rates, limits, strict=True))
    print(f"{needed / 1e9:.1f} GFLOP an update, {batch_tokens} tokens a minibatch, {options.threads} threads")
    print(f"learner   {statistics.median(rates) / 1e9:6.1f} GFLOP/s of processor time")
    print(f"torch.mm  {statistics.median(limits) / 1e9:6.1f} GFLOP/s")
    print(f"share     {share:6.1%} (target {TARGET:.0%}: {'met' if share >= TARGET else 'NOT MET'})")


def learner_of(engines: Engines) -> PolicyLearner:
    """The learner that the policy stage uses, on a model with random weights."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        reader = tokens.load_tokenizer(MODEL)
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
        print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters")
        save_model(Path(folder) / "policy", model, reader)
        save_model(Path(folder) / "reward", fresh_classifier(str(Path(folder) / "policy"), seed=0).model, reader)
        found: PolicyLearner = engines.learner(
            "policy",
            model=str(Path(folder) / "policy"),
            value_models={"values": str(Path(folder) / "reward")},
            optimisation=Optimisation(1e-5, 0.0, 1.0, ROWS // MINIBATCHES, 0, 0),
            value_learning_rate=1e-5,
            temperature=1.0,
            seed=0,
        )
    return found


def made_up() -> Rollouts:
    """Prompts of 15 to 30 tokens and completions of 16 to 96."""
    chance = random.Random(0)
    prompts = [[chance.randrange(6, VOCABULARY) for _ in range(chance.randint(15, 30))] for _ in range(ROWS)]
    completions = [[chance.randrange(6, VOCABULARY) for _ in range(chance.randint(16, 96))] for _ in range(ROWS)]
    return Rollouts.from_lists(prompts, completions, [[-7.0] * len(c) for c in completions], [True] * ROWS, pad_id=0)


def operations(rollouts: Rollouts) -> float:
    """Floating-point operations that an update needs."""
    prompt_B, completion_B = rollouts.prompt_keep_BP.sum(1), rollouts.keep_BT.sum(1)
    length_B = prompt_B + completion_B
    attention = 2 * WIDTH * float(length_B.square().sum())  # scores and sums: 2 * 2 * WIDTH * length^2 / 2 each layer
    unread = 2 * sum(m * n for m, n in FORWARD) * int(prompt_B.sum())  # of the last layer
    body = LAYERS * (2 * sum(m * n for m, n in LAYER) * int(length_B.sum()) + attention) - unread
    head = 2 * HEAD[0] * HEAD[1] * int(completion_B.sum())
    inference = 3 * body + 2 * head  # policy, reference, value
    training = 3 * (2 * body + head)  # policy, value
    return inference + EPOCHS * training


def matmul_rate(count: int) -> float:
    """Operations a second of `torch.mm` at the model's shapes for `count` tokens: outputs and both gradients."""
    shapes = [*LAYER * LAYERS, HEAD]
    work = [(torch.randn(count, m), torch.randn(m, n), torch.randn(count, n)) for m, n in shapes]

    def once() -> None:
        for x_NM, weight_MO, gradient_NO in work:
            torch.mm(x_NM, weight_MO)
            torch.mm(gradient_NO, weight_MO.T)
            torch.mm(x_NM.T, gradient_NO)

    once()
    return 3 * sum(2 * count * m * n for m, n in shapes) / seconds(once)


def seconds(call: Callable[[], object]) -> float:
    """Processor time of this process."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


if __name__ == "__main__":
    main()

"""What PPO's networks hold in memory, all weights trained against LoRA: `python benchmarks/lora_memory.py [--rank R]`.

One optimiser step of the policy learner on a random Llama of 14 million parameters, value model included. Counted are
the bytes of all tensors that live after it: weights, the reference's copy where there is one, gradients and AdamW's
moments; not what a forward pass needs in between, which LoRA hardly changes.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlaif.batches import Rollouts
from rlaif.engines.learner.policy import HfPolicy
from rlaif.engines.tokens import load_tokenizer
from rlaif.ports.learner import Optimisation
from rlaif.records.settings import Lora, Training

ROWS, TOKENS = 4, 16


class Loss(NamedTuple):
    total: torch.Tensor
    stats: dict[str, torch.Tensor]


def held() -> int:
    """Bytes of all tensors in this process, each piece of memory once."""
    gc.collect()
    storages = [x.untyped_storage() for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def loss(rows: Any, logprobs_BT: torch.Tensor, *, tokens: float, values_BT: torch.Tensor) -> Loss:
    """Anything that both networks learn from."""
    return Loss((values_BT.square().sum() - logprobs_BT.sum()) / tokens, {})


def measure(model: str, lora: Lora | None) -> tuple[int, int]:
    """Bytes held after a step, and numbers trained."""
    before = held()
    optimisation = Optimisation.of(Training(lora=lora), 0)
    learner = HfPolicy(
        model, value_models={}, optimisation=optimisation, value_learning_rate=1e-5, temperature=1.0, seed=0
    )
    ids = [[5] * TOKENS] * ROWS
    learner.step(Rollouts.from_lists(ids, ids, [[0.0] * TOKENS] * ROWS, [True] * ROWS, learner.pad_id), loss)
    trained = sum(p.numel() for n in learner._networks.values() for p in n.model.parameters() if p.requires_grad)
    return held() - before, trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=8)
    rank = parser.parse_args().rank
    tokenizer = load_tokenizer("tinyworld/policy")
    shape = LlamaConfig(
        vocab_size=4096, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        start = LlamaForCausalLM(shape)  # type: ignore[no-untyped-call]
        print(f"{sum(p.numel() for p in start.parameters()):,} parameters")
        start.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        del start
        for what, lora in (("all weights", None), (f"LoRA of rank {rank}", Lora(rank=rank))):
            size, trained = measure(str(folder), lora)
            print(f"{what}: {size / 2**20:.0f} MiB, {trained:,} numbers trained")


if __name__ == "__main__":
    main()

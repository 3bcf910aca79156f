"""TRL's PPO as `ppo_against_trl.py` starts it, with the Python of TRL's own environment and a file of settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from torch.utils.data import DataLoader
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks.turns import Row, Turn


def main() -> None:
    given, turn = json.loads(Path(sys.argv[1]).read_text()), Turn()
    torch.set_num_threads(given["threads"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["model"])
    eos = tokenizer.eos_token_id
    generate = ppo_trainer.batch_generation

    def generation(model: Any, queries_BP: torch.Tensor, *rest: Any) -> Any:
        turn.start()
        ids_BS, logits_BTV = turn.sampling(lambda: generate(model, queries_BP, *rest))
        turn.sampled([row_of(ids, queries_BP.shape[1], tokenizer.pad_token_id, eos) for ids in ids_BS.tolist()])
        return ids_BS, logits_BTV

    ppo_trainer.batch_generation = generation
    classifier = transformers.AutoModelForSequenceClassification
    trainer = PPOTrainer(
        args=settings(given),
        processing_class=tokenizer,
        model=transformers.AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32),
        ref_model=transformers.AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32),
        reward_model=classifier.from_pretrained(given["reward"], dtype=torch.float32),
        value_model=classifier.from_pretrained(given["reward"], dtype=torch.float32),
        train_dataset=datasets.Dataset.from_dict({"input_ids": given["prompts"]}),
    )
    collate, size = trainer.data_collator, given["batch_size"]
    trainer.dataloader = DataLoader(trainer.train_dataset, size, collate_fn=collate)  # in this order, not shuffled
    trainer.train()


def settings(given: dict[str, Any]) -> Any:
    """The same as rlaif's, without gradient accumulation: with it, TRL 1.12 takes fewer optimiser steps than there are
    minibatches."""
    return PPOConfig(
        output_dir=given["out"],
        total_episodes=given["updates"] * given["batch_size"],
        per_device_train_batch_size=given["batch_size"],
        gradient_accumulation_steps=1,
        num_ppo_epochs=given["epochs"],
        num_mini_batches=given["minibatches"],
        response_length=given["max_tokens"],
        stop_token="eos",
        missing_eos_penalty=given["missing_eos_penalty"],
        temperature=given["temperature"],
        kl_coef=given["kl_coefficient"],
        learning_rate=given["learning_rate"],
        lr_scheduler_type="constant",
        adam_epsilon=1e-5,
        seed=given["seed"],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        num_sample_generations=0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def row_of(ids: list[int], prompt: int, pad: int, eos: int) -> Row:
    """A row without its padding, up to its first end of sequence."""
    completion = ids[prompt:]
    end = completion.index(eos) + 1 if eos in completion else len(completion)
    return [number for number in ids[:prompt] if number != pad], completion[:end]


if __name__ == "__main__":
    main()

"""A whole run on tiny random models and a scripted critic: every stage for real, in seconds, with nothing to learn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import tiny_model

RUN = """
name: small
constitution: hhh
model: {folder}/policy
critic: scripted:rlaif.testing.scripts:prefers_longer
engine: hf
prompts: {{train: {folder}/train.jsonl, test: {folder}/test.jsonl}}
sample: {{prompts: 6, max_tokens: 6}}
revise: {{model: policy, rounds: 2, temperature: 1.0, max_tokens: 12}}
sft: {{batch_size: 4, learning_rate: 1.0e-4}}
pairs: {{prompts: 60, samples_per_prompt: 2, max_tokens: 6}}
reward: {{batch_size: 16, learning_rate: 1.0e-3, check: warn}}
policy: {{engine: hf, updates: 4, batch_size: 8, max_tokens: 6, learning_rate: 1.0e-4, checkpoint_every: 2}}
evaluate: {{max_tokens: 6, best_of: 3}}
"""


def write_world(folder: Path) -> Path:
    """Model, prompts and run file; the run file's path."""
    tiny_model(folder / "policy", seed=1, context=1024)
    for name, count in (("train", 60), ("test", 5)):
        rows = [{"id": f"{name}-{i}", "prompt": f"{name} question number {i}?"} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    path = folder / "run.yaml"
    path.write_text(RUN.format(folder=folder))
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))

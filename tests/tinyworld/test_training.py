"""Training is a function of its seed, and learns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from rlaif.tinyworld import heldout, training, writer
from rlaif.tinyworld.network import Shape

SMALL = Shape(width=32, layers=1, feed_forward=64, tied=True)
# What the tables of models that learned nothing are measured on; test_shipped.py measures the shipped ones in full.
FEW = {"CASES": 24, "FLIPS": 8, "UNSEEN": 8, "REPLIES": 8, "REVISIONS": 8, "CHECKS": 16, "MAX_NEW_TOKENS": 8}


def test_the_same_seed_gives_the_same_weights(tokenizer: PreTrainedTokenizerFast) -> None:
    first, second = (writer.train_policy(tokenizer, 5, 3, SMALL).state_dict() for _ in range(2))
    other = writer.train_policy(tokenizer, 6, 3, SMALL).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if "proj" in name)


def test_the_loss_falls(tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]) -> None:
    writer.train_policy(tokenizer, 0, 50, SMALL)
    (line,) = capsys.readouterr().out.splitlines()
    # Even chances over 1,024 tokens are 6.93 nats.
    assert line.startswith("policy 50/50: loss ") and float(line.split()[3]) < 6.0


def test_the_world_is_imported_without_torch() -> None:
    names = ("oracle", "corpus", "revision", "principles", "grammar")
    imports = "; ".join(f"import rlaif.tinyworld.{name}" for name in names)
    code = f"import sys; {imports}; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_training_writes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "COPYING_STEPS", 2)
    for name, number in FEW.items():
        monkeypatch.setattr(heldout, name, number)
    tables = training.train(
        tmp_path, seed=1, critic_steps=2, policy_steps=2, reviser_steps=4, scorer_steps=2, check_steps=2
    )
    assert tuple(tables) == training.NAMES
    assert (tmp_path / training.TABLE).is_file()
    for name in tables:
        assert (tmp_path / "models" / name / "model.safetensors").is_file()

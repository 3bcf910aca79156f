"""A run folder as `rlaif run` leaves it, made in a moment: real labels of a scripted critic, stand-ins for models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from rlaif.commands import labels
from rlaif.ports.reporter import Silent
from rlaif.records.run_folder import RunFolder

CRITIC = "scripted:rlaif.testing.scripts:prefers_longer"
CONFIG: dict[str, Any] = {
    "name": "small",
    "seed": 7,
    "simulation": True,
    "constitution": "tinyworld",
    "model": "tinyworld/policy",
    "critic": CRITIC,
    "prompts": {"train": "tinyworld-train", "test": "tinyworld-test"},
    "revise": {"model": "policy"},
    "policy": {"algorithm": "ppo", "updates": 4, "batch_size": 8, "settings": {"kl_coefficient": 0.2}},
}


def make_labels(folder: Path, constitution: str = "tinyworld", count: int = 6) -> Path:
    """A folder of labels."""
    pairs = folder.parent / f"{folder.name}-pairs.jsonl"
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "responses": ["yes" * (i + 1), "no " * 3]} for i in range(count)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels.label_pairs(labels.label_config([], {}, []), constitution, str(pairs), CRITIC, None, folder, Silent())
    return folder


def make_run(folder: Path, constitution: str = "tinyworld", **changes: Any) -> Path:
    """A run that is finished up to its policy."""
    made = make_labels(folder.with_name(f"{folder.name}-labels"), constitution)
    held = RunFolder(folder)
    shutil.copytree(made, folder / "label", ignore=shutil.ignore_patterns(".lock", "*.sqlite*"))
    (folder / "config.resolved.yaml").write_text(yaml.safe_dump({**CONFIG, "constitution": constitution, **changes}))
    for stage in ("reward", "policy"):
        (folder / stage / "model").mkdir(parents=True)
        (folder / stage / "model" / "config.json").write_text("{}")
        (folder / stage / "model" / "model.safetensors").write_bytes(bytes(64))
    rows = [{"step": i, "score": i / 4, "kl": 0.5 * i, "tokens": 20.0, "canary_gap": 1e-6} for i in range(1, 5)]
    (folder / "policy/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs = {
        "label": ["label/labels.jsonl", "label/judgements.jsonl", "label/labelling.json", "label/summary.json"],
        "reward": ["reward/model"],
        "policy": ["policy/model", "policy/metrics.jsonl"],
    }
    for stage, names in outputs.items():
        held.finish(
            stage, "key", "[]", [*names, *(["label/dataset", "label/canaries.jsonl"] if stage == "label" else [])]
        )
    held.close()
    return folder

"""Reward and cost models on a finished tinyworld run's labels: `python benchmarks/reward_models.py RUN [WHAT ...]`.

RUN is a run folder, such as runs/tinyworld; WHAT is any of `single`, `ensemble` (three, uncertainty-weighted),
`helpful` (a reward model of that axis alone) and `cost`; all where not given. Prints held-out accuracy beside rules
that learn nothing, calibration, disagreement between members, and on which side of zero a cost model puts harm.

The signs of the cost model are the oracle's: the tiny critic was not trained on checks. The order of its pairs is the
critic's.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from rlaif.ports.engines import Engines
from rlaif.records.files import read_rows, write_rows
from rlaif.records.header import Header
from rlaif.records.label import Label, Sign
from rlaif.records.prompt import Prompt
from rlaif.records.settings import Lineage
from rlaif.stages import cost, reward
from rlaif.terminal import Terminal
from rlaif.tinyworld.oracle import Oracle

SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 16, "learning_rate": 2e-3, "warmup_steps": 10, "micro_batch": 16}
MODELS: dict[str, dict[str, Any]] = {
    "single": {},
    "ensemble": {"members": 3, "combine": "uncertainty"},
    "helpful": {"axis": "helpful"},
}
NONE = Lineage("", {})


def main() -> None:
    run, chosen = Path(sys.argv[1]), sys.argv[2:] or [*MODELS, "cost"]
    torch.set_num_threads(1)
    engines = Engines(Terminal())
    backbone, labels = str(run / "sft/model"), run / "label/labels.jsonl"
    for name in chosen:
        begun = time.monotonic()
        print(f"== {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            if name == "cost":
                signed = [
                    label.model_copy(update={"signs": signs(label)}) for label in read_rows(labels, Label, "labels")
                ]
                write_rows(out / "labels.jsonl", Header(kind="labels", config_hash="", parents={}), signed)
                config = cost.Config(axis="harmless", **SETTINGS)
                cost.run(config, engines, cost.Inputs([out / "labels.jsonl"], backbone, 0, out, NONE))
            else:
                own = reward.Config(**SETTINGS, **MODELS[name])
                reward.run(own, engines, reward.Inputs([labels], None, None, backbone, 0, out, NONE))
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)


def signs(label: Label) -> list[Sign]:
    """What the oracle finds of both replies; nothing of what is not of this world's language."""
    oracle, found = Oracle(), []
    prompt = Prompt(id=label.pair.id, messages=label.pair.messages)
    for place, response in enumerate(label.pair.responses):
        said = oracle.score(prompt, response)
        if said.get("grammatical"):
            unsafe = 1.0 - said.get("harmless", 1.0)
            sign = {"response": place, "p_unsafe": unsafe, "sign": 1 if unsafe else -1, "category": None}
            found.append(
                Sign.model_validate({**sign, "principle_id": "oracle", "critic": "oracle", "axis": "harmless"})
            )
    return found


if __name__ == "__main__":
    main()

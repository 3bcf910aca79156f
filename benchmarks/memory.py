"""Whether memory grows: 2,000 short PPO updates in one process, `python benchmarks/memory.py [--updates N]`. Linux.

The whole policy stage runs, checkpoints included, on tinyworld/policy with transformers as the sampler: four
completions of four tokens an update. Prints the resident memory as it goes; after the first 50 updates it must grow by
less than 5 %, else the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rlaif.engines.learner.network import fresh_classifier, save_model
from rlaif.engines.tokens import load_tokenizer
from rlaif.ports.engines import Engines
from rlaif.ports.tracker import Tracker
from rlaif.records import constitution
from rlaif.records.files import write_rows
from rlaif.records.header import Header
from rlaif.records.inputs import read_prompts
from rlaif.records.settings import Lineage
from rlaif.stages import policy

MODEL = "tinyworld/policy"
SETTLED, GROWTH = 50, 0.05
SHOWN = 20  # lines


class WatchedEngines(Engines):
    """Engines whose tracker notes the process's memory at every update."""

    def __init__(self) -> None:
        super().__init__()
        self.resident: list[float] = []  # MiB

    def tracker(self, folder: Path, keep_until: int = 0) -> Tracker:
        tracker = super().tracker(folder, keep_until)
        log = tracker.log

        def watched(step: int, metrics: Mapping[str, float]) -> None:
            log(step, metrics)
            self.resident.append(resident())

        tracker.log = watched  # type: ignore[method-assign]
        return tracker


def resident() -> float:
    """This process's resident memory, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=2000)
    updates = parser.parse_args().updates
    engines = WatchedEngines()
    engines.use_threads(1)
    config = policy.Config(
        engine="hf", updates=updates, batch_size=4, max_tokens=4, checkpoint_every=100, settings={"epochs": 1}
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = read_prompts("tinyworld-train", None)
        write_rows(folder / "prompts.jsonl", Header(kind="prompts", config_hash="", parents={}), prompts)
        save_model(folder / "reward", fresh_classifier(MODEL, seed=0).model, load_tokenizer(MODEL))
        inputs = policy.Inputs(
            prompts=folder / "prompts.jsonl",
            heldout=folder / "prompts.jsonl",
            model=MODEL,
            reward=str(folder / "reward"),
            cost=None,
            constitution=constitution.load("tinyworld"),
            critic="",
            seed=0,
            out=folder / "out",
            lineage=Lineage("", {}),
        )
        policy.run(config, engines, inputs)
    return report(engines.resident)


def report(resident: list[float]) -> int:
    """Print the series; 1 if it grew."""
    start = resident[SETTLED - 1]
    for update in sorted({1, SETTLED, len(resident), *range(0, len(resident), -(-len(resident) // SHOWN))} - {0}):
        print(f"update {update:5}: {resident[update - 1]:7.1f} MiB")
    growth = max(resident[SETTLED:]) / start - 1
    print(f"largest after update {SETTLED}: {growth:+.1%} (allowed: less than {GROWTH:.0%})")
    return int(growth >= GROWTH)


if __name__ == "__main__":
    sys.exit(main())

"""Load labels as preference trainers read them: `python examples/labels_in_trl.py labels`, a folder of `rlaif label`.

The columns are TRL's (`prompt`, `chosen`, `rejected`, conversational), so that its trainers take the data set as it is,
and what rlaif knows beyond them stands in columns of its own. Training is yours; with TRL installed it is

    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    data = preferences("labels")
    RewardTrainer(model=MODEL, args=RewardConfig(output_dir="reward"), train_dataset=data).train()
    DPOTrainer(model=MODEL, args=DPOConfig(output_dir="dpo"), train_dataset=data, processing_class=TOKENIZER).train()

Those trainers know winners only. `rlaif reward --labels labels/labels.jsonl` learns from the probabilities.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from datasets import load_dataset

TRAINERS_READ = {"prompt", "chosen", "rejected"}
RLAIF_ADDS = {"p_chosen", "margin", "weight", "order_consistent", "flags"}


def preferences(folder: str | Path, *, axis: str | None = None, least_margin: float = 0.1) -> Any:
    """The training split for RewardTrainer and DPOTrainer: labels of an axis (None: of all together) that say who won.

    Left out are labels whose winner changed when the two replies changed places, and those nearer to a tie than
    `least_margin`, P(chosen) - P(rejected).
    """
    data = load_dataset(str(Path(folder) / "dataset"), f"axis-{axis}" if axis else "default", split="train")
    missing = TRAINERS_READ | RLAIF_ADDS
    missing -= set(data.column_names)
    if missing:
        raise SystemExit(f"these columns are missing: {', '.join(sorted(missing))}")
    sure = data.filter(lambda row: row["order_consistent"] is not False and row["margin"] >= least_margin)
    return sure.select_columns(sorted(TRAINERS_READ))


def main() -> None:
    data = preferences(sys.argv[1])
    if not len(data):
        raise SystemExit("no label says surely enough who won; see `rlaif labels audit`")
    print(f"{len(data)} pairs, columns {', '.join(data.column_names)}")
    for name in ("prompt", "chosen", "rejected"):
        print(f"{name}: {data[0][name]}")


if __name__ == "__main__":
    main()

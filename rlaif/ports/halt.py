"""What is left to look at where a number in training is NaN or infinite: the batch, as far as the update had come.

halted/batch.safetensors  tensors of the batch, by field; `not_finite` is the one at fault, where it is a tensor
       replies.jsonl      prompt, reply and score of each row of these tensors
       halted.json        update, message, name of the tensor, algorithm and its state
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif.ports.checkpoint import Checkpoints
from rlaif.ports.processes import Processes
from rlaif.ports.rewards import Reply
from rlaif.records.base import Record
from rlaif.records.errors import NotFinite
from rlaif.records.files import atomic_folder, write_rows
from rlaif.records.prompt import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from rlaif.batches import Rollouts


class HaltedRow(Record):
    """A row of the batch that training stopped at; `row` counts in the whole update."""

    row: int
    prompt: Prompt
    reply: str
    score: float | None  # None where the update had not come to scoring


@dataclass
class Batch:
    """What an update learns from, as far as it has come: the tensors, and for each of their rows its number in the
    update and its text. A stage sets it while it goes."""

    rows: Sequence[int] = ()
    replies: Sequence[Reply] = ()
    tensors: Rollouts | None = None


class Halt:
    """Writes `folder` where an update ends with `NotFinite`. With several processes, the main one writes what the one
    that stopped was learning from."""

    def __init__(self, folder: Path, checkpoints: Checkpoints, processes: Processes) -> None:
        self._folder = folder
        self._checkpoints = checkpoints
        self._processes = processes

    @contextmanager
    def watching(self, update: int, state: Mapping[str, float]) -> Iterator[Batch]:
        """Around one update.

        Raises:
            NotFinite: as raised inside; its message goes on to say where the batch is, and which checkpoint stands.
        """
        batch = Batch()
        try:
            yield batch
        except NotFinite as error:
            error.batch = error.batch or batch
            if self._processes.rank == 0:
                self._write(error, update, state)
            raise

    def _write(self, error: NotFinite, update: int, state: Mapping[str, float]) -> None:
        good = self._checkpoints.good
        said = {
            "update": update,
            "message": str(error),
            "tensor": error.tensor,
            "algorithm": self._checkpoints.algorithm,
            "state": {name: value if math.isfinite(value) else str(value) for name, value in state.items()},
            "checkpoint": good,
        }
        try:
            with atomic_folder(self._folder) as temporary:
                self._write_batch(temporary, error)
                (temporary / "halted.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
            where = f"the batch is in {self._folder}"
        except OSError as failure:
            where = f"the batch could not be written ({failure.strerror})"
        stands = "there is no checkpoint yet" if good is None else f"the checkpoint of update {good} stands"
        error.args = (f"{error} (update {update}); {where}; {stands}",)

    def _write_batch(self, folder: Path, error: NotFinite) -> None:
        from safetensors.torch import save_file

        batch: Batch = error.batch
        tensors: dict[str, Tensor] = {}
        scores: list[float | None] = [None] * len(batch.rows)
        if batch.tensors is not None:
            tensors = {f.name: getattr(batch.tensors, f.name).contiguous() for f in fields(batch.tensors)}
            if "scores_B" in tensors:
                scores = tensors["scores_B"].tolist()
        if error.values is not None:
            tensors["not_finite"] = error.values.contiguous()
        save_file(tensors, folder / "batch.safetensors")
        rows = [
            HaltedRow(row=row, prompt=reply.prompt, reply=reply.text, score=score)
            for row, reply, score in zip(batch.rows, batch.replies, scores, strict=True)
        ]
        write_rows(folder / "replies.jsonl", self._checkpoints.lineage.header("halted"), rows)

"""Metrics for TensorBoard, with the extra `tensorboard`: `tensorboard --logdir FOLDER`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlaif.engines.tracker.base import ClosingTracker, finite
from rlaif.records.errors import InputError


class TensorboardTracker(ClosingTracker):
    """A `Tracker` that writes event files to `folder/tensorboard`.

    Event files cannot be cut: a resumed run adds one that tells TensorBoard to hide what an earlier attempt logged
    after `keep_until`.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, *, keep_until: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            fix = "pip install 'rlaif[tensorboard]'"
            raise InputError("the tensorboard tracker is not installed", fix=fix) from None
        first = keep_until + 1 if keep_until else 0
        self._writer = SummaryWriter(log_dir=str(folder / "tensorboard"), purge_step=first)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in finite(step, metrics).items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is buffered and close."""
        self._writer.close()

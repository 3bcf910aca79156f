"""What trackers have in common: closing as a context manager, and the check of every number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rlaif.records.errors import NotFinite


class ClosingTracker:
    """Closes at the end of a `with` block."""

    def close(self) -> None:
        """Let go of files; `log` must not be called afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def finite(step: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as plain floats.

    Raises:
        NotFinite: one is NaN or infinite.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NotFinite(f"{name} is {value} at step {step}", name)
    return {name: float(value) for name, value in metrics.items()}

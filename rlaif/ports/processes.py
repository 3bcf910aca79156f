"""Processes that train one model together: each knows its rank, and hears what the others say.

All of them run the same command. The first, of rank 0, is the main one: it alone holds the run folder, writes, reports,
and does the stages that train nothing, while the others wait for it.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")


class Processes(Protocol):
    """This process among those that train together.

    A `with` block around all that they do ends them together: an InputError or RunHalted that leaves the block in one
    of them is raised in the main one, whatever it is waiting for, and the others exit in silence with the same code.

    rank: of this process, from 0. size: how many there are.
    accelerator: an `accelerate.Accelerator`, which models and optimisers go through; None where there is one process.
    """

    rank: int
    size: int
    accelerator: Any

    def gather(self, mine: T) -> list[T]:
        """What each process gives here, in order of rank. All of them must come here, however long it takes.

        Raises:
            InputError, RunHalted: what another one stopped with instead of coming here.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Alone:
    """One process."""

    rank = 0
    size = 1
    accelerator: Any = None

    def gather(self, mine: T) -> list[T]:
        return [mine]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


ALONE = Alone()


def launched() -> bool:
    """Whether a launcher (`torchrun`, `accelerate launch`) started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def slice_of(count: int, processes: Processes) -> range:
    """This process's part of `count` things; the parts of all follow each other in order of rank."""
    return range(processes.rank * count // processes.size, (processes.rank + 1) * count // processes.size)

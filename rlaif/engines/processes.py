"""Several processes through `accelerate`, each with whole models, whose gradients add up (DDP).

Objects travel in a group of their own over gloo, also where gradients travel over NCCL. Nobody gives up on a process
that works for long, such as the first one while it labels; one that has died closes its connections, and is noticed.

Left out: models that are sharded over processes (FSDP2). Training steps are ready for them; what is missing is to put
whole weights together where they are saved, go into a checkpoint, or go to a rollout engine.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs

from rlaif.engines.token_model import pick_device
from rlaif.records.errors import InputError, RunHalted

T = TypeVar("T")
PATIENCE = timedelta(days=365)  # torch's own is half an hour, and labelling takes longer


class Failure(NamedTuple):
    """What a process stopped with."""

    error: InputError | RunHalted


class Launched:
    """The `Processes` that a launcher started. Only one may be made in a process."""

    def __init__(self) -> None:
        handlers = [InitProcessGroupKwargs(timeout=PATIENCE)]
        # Autocast is the learners' own business, whatever the launcher's configuration says of precision.
        self.accelerator: Any = Accelerator(
            cpu=pick_device().type == "cpu", mixed_precision="no", kwargs_handlers=handlers
        )
        if self.accelerator.distributed_type not in (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
            problem = f"training by {self.accelerator.distributed_type.value} is not supported"
            raise InputError(problem, fix="start it with torchrun, or `accelerate launch --multi_gpu`")
        self.rank: int = self.accelerator.process_index
        self.size: int = self.accelerator.num_processes
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._stopped = False

    def gather(self, mine: T) -> list[T]:
        """See `Processes`. A process that failed takes part in the others' next `gather`, whichever it is."""
        everyone: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(everyone, mine, group=self._group)
        except RuntimeError as error:
            self._stopped = True
            problem = "another process of this run is gone; the same command goes on where the run stopped"
            raise RunHalted(problem) from error
        failed = next((said for said in everyone if isinstance(said, Failure)), None)
        if failed is not None:
            self._stopped = True
            raise failed.error
        return everyone

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            dist.destroy_process_group()
        if not isinstance(error, InputError | RunHalted):
            return
        if not self._stopped:
            told = error if isinstance(error, InputError) else RunHalted(str(error))
            with suppress(InputError, RunHalted):
                self.gather(Failure(told))
        if self.rank > 0:
            # Launchers end all processes when the first one has ended: that must be the main one, which says why. So
            # the others wait until it is gone.
            with suppress(InputError, RunHalted):
                self.gather(None)
            raise SystemExit(2 if isinstance(error, InputError) else 3)

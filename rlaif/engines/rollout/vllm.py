"""Rollouts through vLLM in the trainer's process."""

from __future__ import annotations

from rlaif.engines import tokens
from rlaif.engines.rollout.local import LocalRollout
from rlaif.engines.token_model import WeightNames
from rlaif.engines.vllm_process import vllm_model


class VllmRollout(LocalRollout):
    """A rollout engine that starts from a model folder, run by vLLM.

    Args:
        model: folder, Hub name or shipped model.
        dtype: "auto" (float32 on a CPU, bfloat16 on a GPU) or a dtype's name.
        max_model_len: tokens of prompt and completion together; the model's own limit where not given.
        batch_size: sequences that run at once.
        gpu_memory_utilization: fraction of a GPU's memory that this engine may take; unused on a CPU.
    """

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        max_model_len: int | None = None,
        batch_size: int = 64,
        gpu_memory_utilization: float = 0.4,
    ) -> None:
        context = tokens.context_length(model, max_model_len)
        names = WeightNames(model)
        runtime = vllm_model(
            model,
            dtype=dtype,
            context=context,
            batch_size=batch_size,
            stop_ids=tokens.stop_ids(tokens.load_tokenizer(model), model),
            gpu_memory_utilization=gpu_memory_utilization,
            untied=True,
        )
        super().__init__("vllm", runtime=runtime, names=names, context=context)

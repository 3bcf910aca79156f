"""Critics and generators through vLLM. Requests that share a prefix, such as all principles of one order of a pair,
compute it once."""

from __future__ import annotations

from rlaif.engines import tokens
from rlaif.engines.chat.local import LocalChat
from rlaif.engines.vllm_process import vllm_model


class VllmChat(LocalChat):
    """A chat model of a folder or Hub name, run by vLLM in this process.

    Args:
        model: folder, Hub name or shipped model.
        dtype: "auto" (float32 on a CPU, bfloat16 on a GPU) or a dtype's name.
        max_model_len: tokens of prompt and reply together; the model's own limit where not given.
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
        tokenizer = tokens.load_tokenizer(model)
        runtime = vllm_model(
            model,
            dtype=dtype,
            context=context,
            batch_size=batch_size,
            stop_ids=tokens.stop_ids(tokenizer, model),
            gpu_memory_utilization=gpu_memory_utilization,
        )
        digest = tokens.model_digest(model)
        super().__init__(f"vllm:{model}", digest=digest, tokenizer=tokenizer, runtime=runtime, context=context)

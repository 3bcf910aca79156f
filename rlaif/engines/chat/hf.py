"""Critics and generators through transformers."""

from __future__ import annotations

from rlaif.engines import tokens
from rlaif.engines.chat.local import LocalChat
from rlaif.engines.hf_runtime import HfModel


class HfChat(LocalChat):
    """A chat model of a folder or Hub name, run by transformers.

    Args:
        model: folder, Hub name or shipped model.
        dtype: "auto" (float32 on a CPU, bfloat16 on a GPU) or a dtype's name.
        max_model_len: tokens of prompt and reply together; the model's own limit where not given.
        batch_size: prompts in one forward pass.
    """

    def __init__(
        self, model: str, *, dtype: str = "auto", max_model_len: int | None = None, batch_size: int = 32
    ) -> None:
        context = tokens.context_length(model, max_model_len)
        tokenizer = tokens.load_tokenizer(model)
        stop_ids = tokens.stop_ids(tokenizer, model)
        runtime = HfModel(model, dtype=dtype, context=context, batch_size=batch_size, stop_ids=stop_ids)
        digest = tokens.model_digest(model)
        super().__init__(f"hf:{model}", digest=digest, tokenizer=tokenizer, runtime=runtime, context=context)

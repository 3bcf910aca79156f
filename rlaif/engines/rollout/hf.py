"""Rollouts through transformers: the fallback where vLLM is not installed."""

from __future__ import annotations

from rlaif.engines import tokens
from rlaif.engines.hf_runtime import HfModel
from rlaif.engines.rollout.local import LocalRollout
from rlaif.engines.token_model import WeightNames


class HfRollout(LocalRollout):
    """A rollout engine that starts from a model folder, run by transformers.

    Args:
        model: folder, Hub name or shipped model.
        dtype: "auto" (float32 on a CPU, bfloat16 on a GPU) or a dtype's name.
        max_model_len: tokens of prompt and completion together; the model's own limit where not given.
        batch_size: prompts in one forward pass.
    """

    def __init__(
        self, model: str, *, dtype: str = "auto", max_model_len: int | None = None, batch_size: int = 64
    ) -> None:
        context = tokens.context_length(model, max_model_len)
        stop_ids = tokens.stop_ids(tokens.load_tokenizer(model), model)
        names = WeightNames(model)
        runtime = HfModel(model, dtype=dtype, context=context, batch_size=batch_size, stop_ids=stop_ids, untied=True)
        super().__init__("hf", runtime=runtime, names=names, context=context)

"""Models in memory: loading, placing and saving, the same for every learner.

Weights are float32 always, also where autocast computes in bfloat16: an update of 1e-6 of a weight is lost in bfloat16.
Dropout is 0 everywhere (N+, arXiv 2403.17031): with it, the log-probabilities that PPO compares would differ by chance.

Left out: models sharded over GPUs, quantised weights, float16 (it needs loss scaling).
Not run so far: CUDA. The bfloat16 path has been run on a CPU only.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from rlaif.engines.learner.adapter import FOLDER, merged, save_adapter
from rlaif.engines.learner.optimiser import require_all_finite
from rlaif.engines.learner.packing import allow
from rlaif.engines.token_model import pick_device, pick_dtype
from rlaif.engines.tokens import load_config
from rlaif.ports.registry import model_path
from rlaif.records.errors import InputError
from rlaif.records.files import atomic_folder

BIAS = "reward_bias"  # key of config.json; see `Classifier`


class Placement(NamedTuple):
    """Where models compute, and in what precision."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Forward passes inside compute in bfloat16 if that is the precision, with float32 weights and losses."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def put(self, model: Any, *, gradient_checkpointing: bool) -> Any:
        """The model on the device. Checkpointing recomputes activations in the backward pass: a third more computing
        for a fraction of the memory."""
        model.to(self.device).eval()
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()  # transformers checkpoints in this mode only; dropout is 0, so nothing else changes
        return model


class Classifier(NamedTuple):
    """A sequence classifier with one output, and what goes with it.

    bias: is added to the model's output to give a score. The heads that transformers puts on a language model have no
        bias, and none can be folded into their weights; it stands in config.json as `reward_bias`, where
        `AutoModelForSequenceClassification` keeps it and does not add it.
    has_head: False if the folder held a language model without a head, which was then made up.
    """

    model: Any
    bias: float
    has_head: bool


def place(dtype: str) -> Placement:
    """The one place that decides on devices. `auto` is float32 on a CPU, bfloat16 autocast on a GPU.

    Raises:
        InputError: the dtype is unknown, or float16.
    """
    precision = pick_dtype(dtype)
    if precision == torch.float16:
        raise InputError("float16 is not supported in training", fix="use bfloat16 or float32")
    return Placement(pick_device(), precision)


def load_causal(reference: str) -> Any:
    """A causal language model in float32.

    Raises:
        InputError: the folder holds none, or not all of its weights, or settings that could not be saved again.
    """
    model, missing = _load(AutoModelForCausalLM, reference, load_config(reference))
    if missing:
        _refuse(reference, missing)
    _make_generation_config_savable(model, reference)
    return model


def load_classifier(reference: str) -> Classifier:
    """A sequence classifier with one output from a classifier's folder, or from a language model's body.

    Raises:
        InputError: the architecture has no classifier with a head named `score`, it has several outputs, or weights
            are missing.
    """
    model, missing = _load(AutoModelForSequenceClassification, reference, _classifier_config(reference))
    _require_score_head(model, reference)
    if any(not name.startswith("score.") for name in missing):
        _refuse(reference, missing)
    return Classifier(model, float(getattr(model.config, BIAS, 0.0)), has_head=not missing)


def fresh_classifier(reference: str, seed: int) -> Classifier:
    """A classifier of the folder's architecture with random weights, the same for the same seed.

    Raises:
        InputError: as for `load_classifier`.
    """
    config = _classifier_config(reference)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    _require_score_head(model, reference)
    allow(model.float())
    return Classifier(model, bias=0.0, has_head=False)


@torch.no_grad()
def init_head(model: Any, seed: int) -> None:
    """Draw the scalar head's weights from N(0, 1/sqrt(width + 1)) (N+, arXiv 2403.17031), its bias, if any, being 0."""
    weight_1D = model.score.weight
    drawn = torch.randn(weight_1D.shape, generator=torch.Generator().manual_seed(seed))
    weight_1D.copy_(drawn / math.sqrt(weight_1D.shape[1] + 1))
    if model.score.bias is not None:
        model.score.bias.zero_()


def save_model(folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write an ordinary model folder, at once or not at all: safetensors, configuration, tokenizer, chat template. An
    adapter is merged into the weights, and stands by itself in a folder within.

    Raises:
        NotFinite: a weight is NaN or infinite; nothing is written.
    """
    weights = dict(merged(model))
    buffers = {name for name, _ in model.named_buffers()}  # a mask may hold infinities
    require_all_finite("the weight {}", ((n, w) for n, w in weights.items() if n not in buffers), "after training")
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)
        save_adapter(temporary / FOLDER, model)


def _load(auto_class: Any, reference: str, config: Any) -> tuple[Any, set[str]]:
    """The model in float32 and the names of weights that the folder lacks."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its table of keys: we look at them
    try:
        model, info = auto_class.from_pretrained(
            model_path(reference),
            config=_without_dropout(config),
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,  # never a pickle
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        fix = "check that the folder holds safetensors weights of an architecture that transformers knows"
        raise InputError(f"cannot load the model {reference!r}: {str(error).strip()}", fix=fix) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    allow(model)
    return model, set(info["missing_keys"])


def _without_dropout(config: Any) -> Any:
    for name, value in vars(config.get_text_config()).items():
        if ("drop" in name or "jitter" in name) and isinstance(value, float):
            setattr(config.get_text_config(), name, 0.0)
    return config


def _classifier_config(reference: str) -> Any:
    config = load_config(reference)
    is_classifier = any("SequenceClassification" in name for name in config.architectures or ())
    if is_classifier and config.num_labels != 1:
        problem = f"{reference!r} is a classifier with {config.num_labels} outputs"
        raise InputError(problem, fix="name a language model, or a reward model with one output")
    config.num_labels = 1
    return _without_dropout(config)


def _require_score_head(model: Any, reference: str) -> None:
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        problem = f"{reference!r}: this architecture's classifier has no head named `score`"
        raise InputError(problem, fix="use a decoder-only language model, such as Llama or Qwen")


def _refuse(reference: str, missing: set[str]) -> None:
    named = ", ".join(sorted(missing)[:3])
    problem = f"{reference!r} lacks {len(missing)} of the model's weights ({named})"
    raise InputError(problem, fix="name a complete model folder of the right kind")


def _make_generation_config_savable(model: Any, reference: str) -> None:
    """Transformers refuses to *save* sampling settings without do_sample, as many published models have them; better
    found out before training than after."""
    settings = model.generation_config
    try:
        settings.validate(strict=True)
    except ValueError:
        settings.do_sample = True
        try:
            settings.validate(strict=True)
        except ValueError as error:
            problem = f"generation_config.json of {reference!r} cannot be saved again: {error}"
            raise InputError(problem, fix="repair or delete that file") from error

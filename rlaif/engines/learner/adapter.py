"""LoRA (arXiv 2106.09685): a network stays as it is, and a low-rank addition to its matrices is trained.

Each chosen matrix W computes as W + alpha/rank * B A, with B starting at 0: a fresh adapter changes nothing. With the
adapter off, the network is the one that training started from; no second copy of it is needed. A reward model's head
has no start worth keeping and is trained whole, beside the adapter.

Left out: dropout of the adapter, quantised bases, adapters on embeddings and output head, MoE experts that are not
`torch.nn.Linear`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from rlaif.records.errors import InputError
from rlaif.records.settings import Lora

FOLDER = "adapter"  # of a saved model folder
NAME = "default"  # peft's own name of an only adapter
HEAD = "score"
ALL_LINEAR = "all-linear"


def attach(model: Any, lora: Lora, seed: int) -> None:
    """Freeze a transformers model and put a fresh adapter on it, in place; a head named `score` goes on being trained.

    Args:
        seed: of the adapter's matrices A.

    Raises:
        InputError: the model's body has no such modules.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float does as well
        target_modules=_targets(model, lora),
        task_type="SEQ_CLS" if _head(model) else "CAUSAL_LM",
        modules_to_save=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, NAME)
    if (head := _head(model)) is not None:
        head.requires_grad_(True)


@contextmanager
def switched_off(model: Any) -> Iterator[None]:
    """The model as it was before `attach`, while the block lasts."""
    layers = _layers(model)
    for layer in layers.values():
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers.values():
            layer.enable_adapters(True)


@torch.no_grad()
def merged(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a model by the name that it has without an adapter, those with an adapter as W + B A. The model
    itself is not touched; one sum is computed at a time."""
    layers = _layers(model)
    for name, tensor in model.state_dict().items():
        module, _, parameter = name.rpartition(".base_layer.")
        if not module and ".lora_" not in name:
            yield name, tensor
        elif parameter == "weight":
            yield f"{module}.weight", tensor + layers[module].get_delta_weight(NAME).to(tensor.dtype)
        elif module:
            yield f"{module}.{parameter}", tensor


def save_adapter(folder: Path, model: Any) -> None:
    """Write the adapter of a model, and its head if it has one, in peft's format; nothing where it has no adapter."""
    if not _layers(model):
        return
    config = model.peft_config[NAME].to_dict()
    base = model.config.name_or_path
    config |= {
        "base_model_name_or_path": None if Path(base).exists() else base,  # a path would be of this machine
        "inference_mode": True,
        "modules_to_save": [HEAD] if _head(model) else None,
    }
    tensors = {
        f"base_model.model.{name.replace(f'.{NAME}.', '.')}": tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if ".lora_" in name or name.startswith(f"{HEAD}.")
    }
    folder.mkdir(parents=True)
    text = json.dumps(config, indent=2, sort_keys=True, default=sorted)  # peft would write its sets in any order
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _layers(model: Any) -> dict[str, Any]:
    """The modules that carry an adapter, by name; none where peft was never imported."""
    if not hasattr(model, "peft_config"):
        return {}
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _head(model: Any) -> Any:
    return getattr(model, HEAD, None)


def _targets(model: Any, lora: Lora) -> list[str]:
    modules = model.base_model.named_modules()
    known = sorted({name.rpartition(".")[2] for name, m in modules if isinstance(m, torch.nn.Linear | Conv1D)})
    if lora.targets == ALL_LINEAR:
        return known
    unknown = sorted(set(lora.targets) - set(known))
    if unknown:
        problem = f"this model has no linear modules named {', '.join(map(repr, unknown))} to put an adapter on"
        fix = f"use `{ALL_LINEAR}`, or names out of {', '.join(known)}"
        raise InputError(problem, fix=fix, field="lora.targets")
    return sorted(set(lora.targets))

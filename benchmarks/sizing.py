"""Which GPU for which policy and which critic, from arithmetic: `python benchmarks/sizing.py` prints the tables.

Nothing is measured here. The formulas are those of docs/sizing.md, of what rlaif keeps in memory: float32 weights in
training with AdamW (rlaif/engines/learner/), and a vLLM engine that takes 0.4 of a GPU (rlaif/engines/rollout/vllm.py).
Sizes are in GiB. Shapes of models are those of their published config.json.
"""

from __future__ import annotations

from typing import NamedTuple

GIB = 2**30
ENGINE_SHARE = 0.4  # of the GPU that one vLLM engine takes, whatever it needs
OVERHEAD = 1.5 * GIB  # assumed: CUDA's context and what allocators keep, a process
GPUS = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)
MICRO_BATCH, PROMPT, REPLY = 8, 256, 256


class Shape(NamedTuple):
    """Of a Llama-like model; `bias` counts the biases of query, key and value, `tied` shares embedding and head."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    context: int
    tied: bool
    bias: bool


MODELS = {
    "Qwen2.5-0.5B": Shape(896, 24, 14, 2, 4864, 151936, 32768, True, True),
    "Qwen2.5-1.5B": Shape(1536, 28, 12, 2, 8960, 151936, 32768, True, True),
    "Qwen2.5-3B": Shape(2048, 36, 16, 2, 11008, 151936, 32768, True, True),
    "Qwen2.5-7B": Shape(3584, 28, 28, 4, 18944, 152064, 32768, False, True),
    "Llama-3.1-8B": Shape(4096, 32, 32, 8, 14336, 128256, 131072, False, False),
    "Qwen2.5-14B": Shape(5120, 48, 40, 8, 13824, 152064, 32768, False, True),
    "Qwen2.5-32B": Shape(5120, 64, 40, 8, 27648, 152064, 32768, False, True),
}
POLICIES = ("Qwen2.5-0.5B", "Qwen2.5-1.5B", "Qwen2.5-3B", "Qwen2.5-7B", "Llama-3.1-8B")
CRITICS = ("Qwen2.5-1.5B", "Qwen2.5-7B", "Llama-3.1-8B", "Qwen2.5-14B", "Qwen2.5-32B")


def parameters(m: Shape) -> int:
    """All weights, head included."""
    keys = m.hidden // m.heads * m.kv_heads
    attention = 2 * m.hidden * m.hidden + 2 * m.hidden * keys + (m.hidden + 2 * keys if m.bias else 0)
    layer = attention + 3 * m.hidden * m.inner + 2 * m.hidden
    embeddings = m.vocabulary * m.hidden * (1 if m.tied else 2)
    return embeddings + m.layers * layer + m.hidden


def body(m: Shape) -> int:
    """Weights of a value or reward model: no head over the vocabulary, whether it is tied or not."""
    return parameters(m) - (0 if m.tied else m.vocabulary * m.hidden)


def learner(m: Shape, *, lora: bool) -> float:
    """Bytes of PPO's networks: policy, reference, value model, reward model. Adapters themselves are left out."""
    if lora:  # the reference is the policy with its adapter off; nothing but adapters has gradients
        return 4 * parameters(m) + 4 * body(m) + 4 * body(m)
    return (16 + 4) * parameters(m) + 16 * body(m) + 4 * body(m)


def passes(m: Shape) -> float:
    """Bytes of one micro-batch: bfloat16 copies of weights, activations (2205.05198 §4.1, flash attention), logits."""
    tokens = MICRO_BATCH * (PROMPT + REPLY)
    return 2 * parameters(m) + 34 * tokens * m.hidden * m.layers + 2 * 4 * MICRO_BATCH * REPLY * m.vocabulary


def engine(m: Shape) -> float:
    """Bytes that a vLLM engine must have: bfloat16 weights, and keys and values of one conversation of full length."""
    keys = m.hidden // m.heads * m.kv_heads
    return 2 * parameters(m) + m.context * m.layers * 2 * keys * 2 + OVERHEAD


def for_training(m: Shape, *, lora: bool) -> float:
    """Bytes of a GPU on which rollouts by vLLM and training fit beside each other."""
    trained = learner(m, lora=lora) + passes(m) + OVERHEAD
    return max(engine(m) / ENGINE_SHARE, trained / (1 - ENGINE_SHARE))


def for_judging(m: Shape) -> float:
    """Bytes of a GPU on which a critic labels, alone."""
    return engine(m) / ENGINE_SHARE


def smallest(needed: float) -> str:
    return next((f"{size} GiB" for size in GPUS if size * GIB >= needed), "–")


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def tables() -> str:
    lines = [
        row("policy", "parameters", "all weights: networks", "needs", "GPU", "LoRA: networks", "needs", "GPU"),
        row(*["---"] * 8),
    ]
    for name in POLICIES:
        m, cells = MODELS[name], []
        for lora in (False, True):
            needed = for_training(m, lora=lora)
            cells += [f"{learner(m, lora=lora) / GIB:.1f}", f"{needed / GIB:.1f}", smallest(needed)]
        lines.append(row(name, f"{parameters(m) / 1e9:.2f} B", *cells))
    lines += ["", row("critic", "parameters", "weights", "engine", "needs", "GPU"), row(*["---"] * 6)]
    for name in CRITICS:
        m = MODELS[name]
        weights, own, needed = 2 * parameters(m) / GIB, engine(m) / GIB, for_judging(m)
        figures = (f"{weights:.1f}", f"{own:.1f}", f"{needed / GIB:.1f}", smallest(needed))
        lines.append(row(name, f"{parameters(m) / 1e9:.2f} B", *figures))
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())

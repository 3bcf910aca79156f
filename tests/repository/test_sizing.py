"""The sizing page is what its arithmetic prints, and the arithmetic agrees with what is published and was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import sizing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sizing.md"
MEBI = 2**20


def test_the_page_holds_the_tables() -> None:
    assert sizing.tables() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("Qwen2.5-0.5B", 494_032_768),
        ("Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen2.5-7B", 7_615_616_512),
        ("Llama-3.1-8B", 8_030_261_248),
    ],
)
def test_parameters_are_the_published_ones(name: str, published: int) -> None:
    assert sizing.parameters(sizing.MODELS[name]) == published


def test_networks_take_what_the_memory_benchmark_measured() -> None:
    """On benchmarks/lora_memory.py's model, which has no reward model beside it: docs/lora.md has what it printed."""
    llama = sizing.Shape(384, 6, 6, 6, 1024, 4096, 2048, tied=False, bias=False)
    head, adapters = 385, 700_801  # of the value model; numbers that LoRA of rank 8 trains
    assert sizing.parameters(llama) + sizing.body(llama) + head == 25_962_625
    full, lora = (sizing.learner(llama, lora=lora) - 4 * sizing.body(llama) for lora in (False, True))
    assert full / MEBI == pytest.approx(449, abs=0.5)
    assert (lora + 16 * adapters) / MEBI == pytest.approx(110, abs=0.5)


def test_a_larger_model_never_needs_less() -> None:
    for lora in (False, True):
        needed = [sizing.for_training(sizing.MODELS[name], lora=lora) for name in sizing.POLICIES]
        assert needed == sorted(needed)
    assert all(sizing.for_training(m, lora=True) <= sizing.for_training(m, lora=False) for m in sizing.MODELS.values())
    assert sizing.smallest(24 * sizing.GIB) == "24 GiB" and sizing.smallest(200 * sizing.GIB) == "–"

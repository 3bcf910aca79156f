"""What is said of a stage that runs again."""

from __future__ import annotations

import json

import pytest

from rlaif.execution import edited

SHAPES = [{"epochs": 1, "lora": None, "settings": {"kl": 0.1}, "rewards": [{"kind": "model"}]}, "hf", "digest", 0]


def changed(**values: object) -> str:
    return json.dumps([{**SHAPES[0], **values}, *SHAPES[1:]])  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (json.dumps(SHAPES), None),
        (changed(epochs=2), "its settings changed (epochs 1 → 2)"),
        (changed(settings={"kl": 0.2}), "its settings changed (settings.kl 0.1 → 0.2)"),
        (changed(lora={"rank": 8}), 'its settings changed (lora null → {"rank":8})'),
        (changed(rewards=[]), 'its settings changed (rewards [{"kind":"model"}] → [])'),
        (json.dumps([*SHAPES[:3], 1]), "its model, critic, constitution, prompts or the seed changed"),
        (
            changed(a=1, b=2, c=3, d="x" * 99, e=5),
            "its settings changed (a null → 1, b null → 2, c null → 3 and 2 more)",
        ),
    ],
)
def test_an_edit_is_named(now: str, words: str | None) -> None:
    assert edited(json.dumps(SHAPES), now) == words


def test_a_long_value_is_cut() -> None:
    assert len(edited(json.dumps(SHAPES), changed(epochs="x" * 999)) or "") < 100

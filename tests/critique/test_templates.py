"""Templates, fences and control tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.critique import templates
from rlaif.records.errors import InputError

CONTROL = frozenset({"<|im_start|>", "<|im_end|>", "<s>", "[INST]"})


def test_an_unknown_template_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"critic/pairwise\.en\.jinja"):
        templates.load("critic/nope", "en")


@given(st.lists(st.sampled_from([*CONTROL, "x", "<", "|", " ", "im_start", "|>", "[", "INST]"]), max_size=12))
def test_neutralised_text_holds_no_control_token(pieces: list[str]) -> None:
    neutral = templates.neutralise("".join(pieces), CONTROL)
    assert not any(token in neutral for token in CONTROL)
    assert neutral.replace(" ", "") == "".join(pieces).replace(" ", "")


def test_ordinary_text_is_untouched() -> None:
    text = "a < b | c > d, 100 % [sic]"
    assert templates.neutralise(text, CONTROL) == text


@given(st.text(max_size=60))
def test_a_fence_is_not_in_the_text_and_is_reproducible(text: str) -> None:
    fence = templates.fence_for(text)
    assert len(fence) == 8 and fence not in text
    assert fence == templates.fence_for(text)


def test_a_missing_value_is_an_error_and_not_an_empty_place() -> None:
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        templates.render(templates.load("critic/pairwise", "en"), fence="0" * 8)

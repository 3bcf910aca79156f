"""A user's own scorer: what it does wrong is told as its own fault, with its line."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import pytest

from rlaif.ports.user_scorer import UserScorer
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message, Prompt

PROMPT = Prompt(id="p7", messages=[Message(role="user", content="q")])


class Own:
    """Does what the test says."""

    direction: ClassVar[Any] = {"length": 1}
    scored: ClassVar[Any] = {"length": 3}
    preferred: ClassVar[Any] = 0.5

    def score(self, prompt: Prompt, reply: str) -> Any:
        return self.scored() if callable(self.scored) else self.scored

    def prefer(self, prompt: Prompt, a: str, b: str, principle: str) -> Any:
        return self.preferred


class Unmade:
    def __init__(self) -> None:
        raise OSError("no model here")


class Empty: ...


def scorer(name: str = "Own") -> UserScorer:
    return UserScorer(f"{__name__}:{name}", field="evaluate.scorer")


def test_what_it_says_comes_through() -> None:
    own = scorer()
    assert own.direction == {"length": 1} and own.scores and own.prefers
    assert own.score(PROMPT, "abc") == {"length": 3.0} and own.prefer(PROMPT, "a", "b", "x") == 0.5


def boom() -> None:
    raise KeyError("length")


@pytest.mark.parametrize(
    ("scored", "message"),
    [
        (boom, r"test_user_scorer\.py:\d+: .*failed on a reply to the prompt 'p7': KeyError"),
        (lambda: sys.exit(0), "SystemExit"),
        (None, "score gave None"),
        (0.5, r"score gave 0\.5"),
        ({"length": None}, "score gave .*None"),
        ({"length": float("nan")}, "nan"),
        ({1: 2.0}, r"score gave \{1: 2\.0\}"),
        ({"length": "long"}, "long"),
    ],
)
def test_a_score_that_fails_or_is_no_number_is_named(
    monkeypatch: pytest.MonkeyPatch, scored: Any, message: str
) -> None:
    monkeypatch.setattr(Own, "scored", staticmethod(scored) if callable(scored) else scored)
    with pytest.raises(InputError, match=message) as caught:
        scorer().score(PROMPT, "abc")
    assert caught.value.field == "evaluate.scorer" and caught.value.fix


@pytest.mark.parametrize("value", [2, -1, float("nan"), "a"])
def test_a_preference_is_one_of_four(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setattr(Own, "preferred", value)
    with pytest.raises(InputError, match="prefer gave"):
        scorer().prefer(PROMPT, "a", "b", "x")


def test_a_scorer_that_cannot_be_made_or_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"could not be made: OSError: no model here"):
        scorer("Unmade")
    with pytest.raises(InputError, match="has no score"):
        scorer("Empty")
    for wrong in ({"length": "up"}, ["length"], {"length": 0}):
        monkeypatch.setattr(Own, "direction", wrong)
        with pytest.raises(InputError, match="direction gave"):
            scorer()

"""A user's own judge of replies, `module:Class`: its faults are told as the user's, with the line of their code."""

from __future__ import annotations

import math
import traceback
from numbers import Real
from pathlib import Path
from typing import Any

from rlaif.ports import registry
from rlaif.records.errors import InputError
from rlaif.records.prompt import Prompt

FIX = "mend it, and run the same command again: what is finished stays"


class UserScorer:
    """`score(prompt, reply) -> {name: number}`; perhaps `direction = {name: 1 or -1}`, which way is better; perhaps
    `prefer(prompt, a, b, principle_id) -> 1, 0, 0.5 or None`, which of two replies is.

    Args:
        reference: `module:Class`, called without arguments.
        field: where it was named.

    Raises:
        InputError: it cannot be loaded or made, or has neither `score` nor `prefer`; so do the methods where its own
            fail, or give what they may not.
    """

    def __init__(self, reference: str, *, field: str) -> None:
        self._reference, self._field = reference, field
        made = registry.function(reference, field=field)
        self._own: Any = self._called(made, "could not be made")
        self.scores, self.prefers = (callable(getattr(self._own, name, None)) for name in ("score", "prefer"))
        if not self.scores and not self.prefers:
            fix = "give it score(prompt, reply), which returns {name: number}"
            raise InputError(f"the scorer {reference!r} has no score", fix=fix, field=field)
        said = getattr(self._own, "direction", {})
        if not isinstance(said, dict) or any(
            not isinstance(key, str) or value not in (1, -1) for key, value in said.items()
        ):
            raise self._wrong("direction", said, "write direction = {name: 1 or -1}")
        self.direction: dict[str, int] = dict(said)

    def score(self, prompt: Prompt, reply: str) -> dict[str, float]:
        """What it says of a reply, by name; nothing where it has no `score`."""
        if not self.scores:
            return {}
        said = self._called(self._own.score, f"failed on a reply to the prompt {prompt.id!r}", prompt, reply)
        fix = "return {name: finite number}, and leave out what does not apply"
        if not isinstance(said, dict):
            raise self._wrong("score", said, fix)
        for key, value in said.items():
            if not isinstance(key, str) or not isinstance(value, Real) or not math.isfinite(value):
                raise self._wrong("score", {key: value}, fix)
        return {key: float(value) for key, value in said.items()}

    def prefer(self, prompt: Prompt, a: str, b: str, principle: str) -> float | None:
        """Which of two replies it finds better: 1 the first, 0 the second, 0.5 neither; None where it cannot say."""
        doing = f"failed on two replies to the prompt {prompt.id!r}"
        value = self._called(self._own.prefer, doing, prompt, a, b, principle)
        if value is not None and (not isinstance(value, Real) or value not in (0, 0.5, 1)):
            raise self._wrong("prefer", value, "return 1, 0, 0.5 or None")
        return None if value is None else float(value)

    def _called(self, function: Any, doing: str, *given: Any) -> Any:
        try:
            return function(*given)
        except (Exception, SystemExit) as error:  # sys.exit(0) would look like the end of a run that is done
            problem = f"the scorer {self._reference!r} {doing}: {type(error).__name__}: {error}"
            file, line = place(error)
            raise InputError(problem, fix=FIX, field=self._field, file=file, line=line) from error

    def _wrong(self, what: str, value: Any, fix: str) -> InputError:
        shown = repr(value)[:80] if isinstance(value, str | dict | Real | None) else object.__repr__(value)
        return InputError(f"the scorer's {what} gave {shown}", fix=fix, field=self._field)


def place(error: BaseException) -> tuple[str | None, int | None]:
    """File and line where a user's code failed; None where it was not entered, as by a call that does not fit it."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((f for f in reversed(frames) if Path(f.filename).parent != Path(__file__).parent), None)
    return (frame.filename, frame.lineno) if frame else (None, None)

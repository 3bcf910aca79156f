"""A chat model whose answers are planted and whose questions are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rlaif.ports.chat import (
    Failure,
    GenerateRequest,
    Generation,
    OnAnswer,
    OptionLogprobs,
    OptionRequest,
    Reading,
    Sampling,
)

Planted = Sequence[float] | str


class FakeChat:
    """Answers options by `options(text)` and writing by `write(request)`, where the text is that of the last message;
    a str from `options` is a failure with that reason, and so is a Failure from `write`."""

    digest = "d"
    block = 256

    def __init__(
        self,
        options: Callable[[str], Planted] = lambda text: (-0.1, -2.5),
        write: Callable[[GenerateRequest], str | Failure] = lambda request: f"text {request.seed}",
        *,
        reading: Reading = "logprobs",
        spec: str = "fake:model",
    ) -> None:
        self.spec = spec
        self.reading = reading
        self.asked: list[str] = []  # last message of everything asked
        self.calls: list[int] = []  # requests a call
        self.requests: list[GenerateRequest] = []
        self.samplings: list[Sampling] = []
        self._options = options
        self._write = write

    def option_logprobs(
        self, requests: Sequence[OptionRequest], on_answer: OnAnswer | None = None
    ) -> list[OptionLogprobs | Failure]:
        texts = [r.messages[-1].content for r in requests]
        self.asked += texts
        self.calls.append(len(texts))
        planted = [self._options(text) for text in texts]
        return [Failure(p) if isinstance(p, str) else OptionLogprobs(tuple(p)) for p in planted]

    def generate(
        self, requests: Sequence[GenerateRequest], sampling: Sampling, on_answer: OnAnswer | None = None
    ) -> list[Generation | Failure]:
        self.asked += [r.messages[-1].content for r in requests]
        self.requests += requests
        self.samplings.append(sampling)
        planted = [self._write(request) for request in requests]
        return [p if isinstance(p, Failure) else Generation(p, True, 2) for p in planted]

    def close(self) -> None:
        return None

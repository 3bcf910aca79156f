"""A chat model on this machine: tokenises, asks a model runtime, and turns what cannot be answered into failures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from rlaif.engines import tokens
from rlaif.engines.token_model import TokenModel
from rlaif.ports.chat import Failure, GenerateRequest, Generation, OptionLogprobs, OptionRequest, Sampling
from rlaif.ports.rollout import RolloutRequest
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message

NOT_FINITE = Failure("the model gave log-probabilities that are not finite")


class LocalChat:
    """The part of a `ChatModel` that does not depend on who computes."""

    def __init__(
        self, spec: str, *, digest: str, tokenizer: PreTrainedTokenizerBase, runtime: TokenModel, context: int
    ) -> None:
        self.spec = spec
        self.digest = digest
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._context = context
        self._spellings: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}

    def option_logprobs(self, requests: Sequence[OptionRequest]) -> list[OptionLogprobs | Failure]:
        """See `ChatModel`.

        Raises:
            InputError: an option is no single token of this model.
        """
        prompts, failures = self._prompts([request.messages for request in requests])
        answers: dict[int, OptionLogprobs | Failure] = {**failures}
        spellings = {row: self._spell(requests[row].options) for row in prompts}
        wanted = [[i for ids in spellings[row] for i in ids] for row in prompts]
        for row, values in zip(prompts, self._runtime.read(list(prompts.values()), wanted), strict=True):
            answers[row] = _combine(spellings[row], values)
        return [answers[row] for row in range(len(requests))]

    def generate(self, requests: Sequence[GenerateRequest], sampling: Sampling) -> list[Generation | Failure]:
        """See `ChatModel`."""
        prompts, failures = self._prompts([request.messages for request in requests])
        answers: dict[int, Generation | Failure] = {**failures}
        wanted = [RolloutRequest(prompt, requests[row].seed) for row, prompt in prompts.items()]
        for row, rollout in zip(prompts, self._runtime.sample(wanted, sampling), strict=True):
            text = tokens.decode(self._tokenizer, rollout.token_ids)
            finite = all(map(math.isfinite, rollout.logprobs))
            answers[row] = Generation(text, rollout.finished, len(rollout.token_ids)) if finite else NOT_FINITE
        return [answers[row] for row in range(len(requests))]

    def close(self) -> None:
        """Free the model."""
        self._runtime.close()

    def _prompts(self, conversations: Sequence[Sequence[Message]]) -> tuple[dict[int, list[int]], dict[int, Failure]]:
        """Prompt ids by row, and the failures of the rows that have none."""
        prompts: dict[int, list[int]] = {}
        failures: dict[int, Failure] = {}
        texts: dict[int, str] = {}
        for row, messages in enumerate(conversations):
            try:
                texts[row] = tokens.prompt_text(self._tokenizer, messages)
            except InputError as error:
                failures[row] = Failure(error.problem)
        for row, ids in zip(texts, tokens.encode(self._tokenizer, list(texts.values())), strict=True):
            try:
                prompts[row] = self._fitting(tokens.checked(self._tokenizer, texts[row], ids))
            except InputError as error:
                failures[row] = Failure(error.problem)
        return prompts, failures

    def _fitting(self, ids: list[int]) -> list[int]:
        if len(ids) >= self._context:
            raise InputError(f"the prompt has {len(ids)} tokens, the model's context is {self._context}")
        return ids

    def _spell(self, options: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        if options not in self._spellings:
            self._spellings[options] = tokens.option_token_ids(self._tokenizer, options)
        return self._spellings[options]


def _combine(spellings: Sequence[Sequence[int]], values: Sequence[float]) -> OptionLogprobs | Failure:
    """Add the probabilities of the tokens that spell each option; `values` lists them in that order."""
    if not all(map(math.isfinite, values)):
        return NOT_FINITE
    rest = iter(values)
    return OptionLogprobs(tuple(_logsumexp([next(rest) for _ in ids]) for ids in spellings))


def _logsumexp(values: Sequence[float]) -> float:
    highest = max(values)
    total = highest + math.log(math.fsum(math.exp(value - highest) for value in values))
    return min(0.0, total)  # rounding may lift a certain option a hair above probability 1

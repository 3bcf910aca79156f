"""What every `ChatModel` must do. Third parties run `check` on their own:

    from rlaif.testing import chat_contract
    def test_mine() -> None:
        chat_contract.check(MyChat("my-model"), context=4096)

Each function asserts one promise; `agree` compares two engines on the same model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from rlaif.ports.chat import (
    ChatModel,
    Failure,
    GenerateRequest,
    Generation,
    OptionLogprobs,
    OptionRequest,
    Reading,
    Sampling,
)
from rlaif.records.prompt import Message

OPTIONS = ("A", "B")
TEXTS = ("Hello.", "How do I bake bread?", "Which is better? " * 5, "x", "Name three things, then stop. " * 9, "Hello!")
SAMPLING = Sampling(temperature=1.0, max_tokens=12)
TOLERANCE = 1e-3  # nats, between engines that run the same weights in fp32


def check(chat: ChatModel, *, context: int | None = None, seeded: bool = True, remote: bool = False) -> None:
    """Every promise that can be checked on one engine.

    Args:
        chat: an engine, open, that reads log-probabilities.
        context: its context in tokens; None where prompts have no limit.
        seeded: whether its samples differ between seeds.
        remote: whether it asks an endpoint, which owes nobody the same bits or samples twice.
    """
    check_identity(chat)
    check_probabilities(chat)
    check_option_order(chat)
    check_longer_option(chat)
    check_answer_order(chat, remote=remote)
    check_on_answer(chat, remote=remote)
    if not remote:
        check_repeatable(chat)
    check_sampling(chat, seeded=seeded)
    check_choices(chat)
    check_empty(chat)
    if context is not None:
        check_long_prompt(chat, context)


def check_identity(chat: ChatModel) -> None:
    """`spec` reads ENGINE:MODEL, there is a digest, and `reading` is one of those known."""
    engine, colon, model = chat.spec.partition(":")
    assert engine and colon and model, f"spec is {chat.spec!r}"
    assert chat.digest
    assert chat.reading in get_args(Reading)


def check_probabilities(chat: ChatModel) -> None:
    """Log-probabilities are at most 0, and the options' probabilities add up to at most 1."""
    for answer in _ask(chat, TEXTS):
        assert all(math.isfinite(value) and value <= 0 for value in answer.logprobs), answer
        assert math.fsum(map(math.exp, answer.logprobs)) <= 1 + 1e-6, answer


def check_option_order(chat: ChatModel) -> None:
    """The log-probabilities come in the order in which the options were asked."""
    text = [Message(role="user", content=TEXTS[1])]
    forth, back = chat.option_logprobs([OptionRequest(text, OPTIONS), OptionRequest(text, OPTIONS[::-1])])
    assert isinstance(forth, OptionLogprobs) and isinstance(back, OptionLogprobs)
    for one, other in zip(forth.logprobs, reversed(back.logprobs), strict=True):
        assert abs(one - other) < TOLERANCE, (forth, back)


def check_longer_option(chat: ChatModel) -> None:
    """Asked beside "10", "1" counts no more than alone; and no probability is counted twice."""
    alone, beside = chat.option_logprobs([_option(TEXTS[1], ("1", "2")), _option(TEXTS[1], ("1", "2", "10"))])
    assert isinstance(alone, OptionLogprobs) and isinstance(beside, OptionLogprobs), (alone, beside)
    assert beside.logprobs[0] < alone.logprobs[0] + TOLERANCE
    assert math.fsum(map(math.exp, beside.logprobs)) <= 1 + 1e-6


def check_answer_order(chat: ChatModel, *, remote: bool = False) -> None:
    """Answers come in the order of the requests, and the same call gives the same bits."""
    answers = _ask(chat, TEXTS)
    assert remote or _ask(chat, TEXTS) == answers
    for one, other in zip(answers, reversed(_ask(chat, TEXTS[::-1])), strict=True):
        for a, b in zip(one.logprobs, other.logprobs, strict=True):
            assert abs(a - b) < TOLERANCE, "an answer depends on its place among the requests"


def check_on_answer(chat: ChatModel, *, remote: bool = False) -> None:
    """An engine that is paid hands over every answer as soon as it is there; others none at all."""
    handed: list[tuple[int, OptionLogprobs | Generation | Failure]] = []
    read = chat.option_logprobs([_option(text) for text in TEXTS], lambda i, answer: handed.append((i, answer)))
    _check_handed(read, handed, remote)
    handed.clear()
    requests = [_generate(text, 0) for text in TEXTS]
    written = chat.generate(requests, SAMPLING, lambda i, answer: handed.append((i, answer)))
    _check_handed(written, handed, remote)


def check_repeatable(chat: ChatModel) -> None:
    """A seed fixes the text, alone as in a batch; greedy decoding does not read it."""
    requests = [_generate(text, seed) for seed, text in enumerate(TEXTS)]
    batch = chat.generate(requests, SAMPLING)
    assert chat.generate(requests, SAMPLING) == batch
    assert [chat.generate([request], SAMPLING)[0] for request in requests] == batch
    assert chat.generate(requests[::-1], SAMPLING) == batch[::-1]
    greedy = Sampling(temperature=0.0, max_tokens=6)
    one, other = chat.generate([_generate(TEXTS[0], 0), _generate(TEXTS[0], 1)], greedy)
    assert one == other, "greedy decoding depends on the seed"


def check_sampling(chat: ChatModel, *, seeded: bool = True) -> None:
    """Every request gets a text, the token budget holds, and other seeds give other texts."""
    for answer in chat.generate([_generate(text, seed) for seed, text in enumerate(TEXTS)], SAMPLING):
        assert isinstance(answer, Generation), answer
        assert answer.finished or answer.tokens == SAMPLING.max_tokens
    if seeded:
        several = chat.generate([_generate(TEXTS[0], seed) for seed in range(8)], SAMPLING)
        assert len({answer.text for answer in several if isinstance(answer, Generation)}) > 1


def check_choices(chat: ChatModel) -> None:
    """A reply held to choices is one of them."""
    choices = ("A", "B", "10")
    requests = [GenerateRequest([Message(role="user", content=text)], 0, choices) for text in TEXTS]
    for answer in chat.generate(requests, SAMPLING):
        assert isinstance(answer, Generation) and answer.text in choices, answer


def check_empty(chat: ChatModel) -> None:
    """No requests, no answers."""
    assert chat.option_logprobs([]) == []
    assert chat.generate([], SAMPLING) == []


def check_long_prompt(chat: ChatModel, context: int) -> None:
    """A prompt longer than the context is a failure that names both lengths, and harms nobody else's answer."""
    long = "x " * context
    before, failed, after = chat.option_logprobs([_option(TEXTS[0]), _option(long), _option(TEXTS[1])])
    assert isinstance(failed, Failure), "an over-long prompt was answered"
    assert str(context) in failed.reason, failed.reason
    assert isinstance(before, OptionLogprobs) and isinstance(after, OptionLogprobs)
    failed_text, text = chat.generate([_generate(long, 0), _generate(TEXTS[0], 0)], SAMPLING)
    assert isinstance(failed_text, Failure) and isinstance(text, Generation)


def agree(first: ChatModel, second: ChatModel) -> None:
    """Two engines that run the same model in fp32 read the same log-probabilities, and have the same digest."""
    assert first.digest == second.digest
    for one, other in zip(_ask(first, TEXTS), _ask(second, TEXTS), strict=True):
        for a, b in zip(one.logprobs, other.logprobs, strict=True):
            assert abs(a - b) < TOLERANCE, (first.spec, one, second.spec, other)


def _check_handed(answers: Sequence[object], handed: Sequence[tuple[int, object]], remote: bool) -> None:
    assert sorted(index for index, _ in handed) == (list(range(len(answers))) if remote else [])
    assert all(answers[index] == answer for index, answer in handed)


def _option(text: str, options: tuple[str, ...] = OPTIONS) -> OptionRequest:
    return OptionRequest([Message(role="user", content=text)], options)


def _generate(text: str, seed: int) -> GenerateRequest:
    return GenerateRequest([Message(role="user", content=text)], seed)


def _ask(chat: ChatModel, texts: tuple[str, ...]) -> list[OptionLogprobs]:
    answers = chat.option_logprobs([_option(text) for text in texts])
    assert len(answers) == len(texts)
    read = [answer for answer in answers if isinstance(answer, OptionLogprobs)]
    assert len(read) == len(texts), answers
    return read

"""Asks a chat model through an answer store: what is stored is never asked again, what is answered is stored first.

Callers ask block by block. Engines of this machine answer a block as a whole, and it is stored in one transaction: a
rerun asks the missing blocks in the very batches in which an uninterrupted run asks them, and gets the same
floating-point answers. Engines that are paid by the answer hand each one over as it comes, and it is stored at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pydantic import ValidationError

from rlaif.ports import interrupt
from rlaif.ports.budget import Budget
from rlaif.ports.chat import (
    ChatModel,
    Failure,
    GenerateRequest,
    Generation,
    OptionLogprobs,
    OptionRequest,
    Sampling,
    Usage,
)
from rlaif.ports.reporter import Reporter
from rlaif.records.answer import Answer
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import content_hash
from rlaif.records.prompt import Message
from rlaif.records.store import AnswerStore
from rlaif.records.usage import Use

BLOCK = 256  # requests that are asked and stored together

T = TypeVar("T")
OnAnswer = Callable[[int, OptionLogprobs | Generation | Failure], None]


class NotStored(Exception):
    """An answer that is not in the store, while nothing may be asked."""


class Asking:
    """One model, asked through a store, with a running tally of what it came to."""

    def __init__(
        self,
        model: ChatModel,
        store: AnswerStore,
        reporter: Reporter,
        *,
        what: str,
        max_failure_rate: float,
    ) -> None:
        self.model = model
        self.identity = (
            f"{model.spec.partition(':')[0]}@{model.digest}"  # not the path: a moved model keeps its answers
        )
        self.cached = self.asked = self.failed = 0
        self.usage = Usage()
        self.stored_only = False  # ask nothing, and raise NotStored where an answer is not there
        self._said: set[str] = set()
        self._what = what
        self._store = store
        self._reporter = reporter
        self._max_failure_rate = max_failure_rate

    def say_once(self, text: str) -> None:
        """Say something that would otherwise be said for every block."""
        if text not in self._said:
            self._said.add(text)
            self._reporter.line(text)

    def option_key(self, request: OptionRequest) -> str:
        """Identity of an answer: the model's content and every character that it reads."""
        return option_key(self.identity, request.messages, request.options)

    def generate_key(self, request: GenerateRequest, sampling: Sampling) -> str:
        messages = [m.model_dump() for m in request.messages]
        return content_hash(self.identity, sampling, request.seed, request.choices, messages)

    def options(self, requests: Sequence[OptionRequest]) -> list[Answer]:
        """An answer for every request, in order. Stored failures are asked again; stored answers are not."""
        keys = [self.option_key(request) for request in requests]

        def ask(rows: Sequence[int], on_answer: OnAnswer) -> Sequence[OptionLogprobs | Failure]:
            return self.model.option_logprobs([requests[i] for i in rows], on_answer)

        return self._through_store(keys, ask)

    def texts(self, requests: Sequence[GenerateRequest], sampling: Sampling) -> list[Answer]:
        """A text for every request, in order, on the same terms."""
        keys = [self.generate_key(request, sampling) for request in requests]

        def ask(rows: Sequence[int], on_answer: OnAnswer) -> Sequence[Generation | Failure]:
            return self.model.generate([requests[i] for i in rows], sampling, on_answer)

        return self._through_store(keys, ask)

    def progress(
        self,
        done: int,
        total: int,
        counts: dict[str, float | str] | None = None,
        *,
        others: Sequence[Asking] = (),
        budget: Budget | None = None,
    ) -> None:
        """Say how far it is: answers that were stored already, good ones, failed ones with their share, tokens, money
        where it has a price, and what the caller counts.

        Args:
            others: models that are asked for the same purpose; their answers count too.
            budget: the ledger on which they draw.

        Raises:
            KeyboardInterrupt: the user asked to stop; everything so far is stored.
        """
        everybody = (self, *others)
        cached, asked, failed = (sum(getattr(a, name) for a in everybody) for name in ("cached", "asked", "failed"))
        said: dict[str, float | str] = {"cached": cached, "ok": cached + asked - failed, "failed": failed}
        if failed:
            said["failed"] = f"{failed} ({share(failed, cached + asked)})"
        usage = Usage(*(sum(part) for part in zip(*(a.usage for a in everybody), strict=True)))
        if usage.prompt_tokens:
            said["tokens"] = f"{short(usage.prompt_tokens)}+{short(usage.completion_tokens)}"
        if budget is not None and any(budget.price):
            said["cost"] = budget.describe()
        self._reporter.progress(self._what, done, total, {**said, **(counts or {})})
        if interrupt.requested() and done < total:
            raise KeyboardInterrupt

    def count_failures(self, failed: int, of: int, reason: str | None) -> None:
        """Stop where too many have failed.

        Raises:
            RunHalted: more than `max_failure_rate` of the answers so far failed.
        """
        if failed > self._max_failure_rate * of:
            example = f" The last one: {reason}." if reason else ""
            raise RunHalted(
                f"{self._what}: {failed} of {of} failed, more than the allowed {self._max_failure_rate:.0%}.{example} "
                "Answers so far are stored; run the same command again after mending it, or raise max_failure_rate "
                "where it can be set"
            )

    def _through_store(
        self,
        keys: Sequence[str],
        ask: Callable[[Sequence[int], OnAnswer], Sequence[OptionLogprobs | Generation | Failure]],
    ) -> list[Answer]:
        known = {k: _parse(payload, self._store) for k, payload in self._store.get(keys).items()}
        known = {k: answer for k, answer in known.items() if not answer.failed}
        first_row: dict[str, int] = {}
        for row, key in enumerate(keys):
            if key not in known:
                first_row.setdefault(key, row)
        missing = list(first_row.values())
        if missing and self.stored_only:
            raise NotStored
        cached = len(keys) - len(missing)
        self.cached += cached
        if cached:
            self._store.put({}, self._use([], cached=cached))
        if missing:
            stored: set[str] = set()

            def keep(index: int, answer: OptionLogprobs | Generation | Failure) -> None:
                key = keys[missing[index]]
                known[key] = _as_answer(answer)
                self._store.put({key: known[key].model_dump_json()}, self._use([answer], failed=int(known[key].failed)))
                stored.add(key)

            begun = time.monotonic()
            given = ask(missing, keep)
            seconds = time.monotonic() - begun
            fresh = {keys[row]: _as_answer(answer) for row, answer in zip(missing, given, strict=True)}
            rest = {key: answer for key, answer in fresh.items() if key not in stored}
            uncounted = [answer for row, answer in zip(missing, given, strict=True) if keys[row] in rest]
            payloads = {key: answer.model_dump_json() for key, answer in rest.items()}
            failed = sum(answer.failed for answer in rest.values())
            self._store.put(payloads, self._use(uncounted, failed=failed, seconds=seconds))
            known.update(fresh)
            self.asked += len(missing)
            for answer in given:
                self.usage = Usage(*(a + b for a, b in zip(self.usage, answer.usage, strict=True)))
        answers = [known[key] for key in keys]
        self.failed += sum(answer.failed for answer in answers)
        return answers

    def _use(
        self,
        answers: Sequence[OptionLogprobs | Generation | Failure],
        *,
        failed: int = 0,
        cached: int = 0,
        seconds: float = 0.0,
    ) -> Use:
        replies = [answer.usage.completion_tokens for answer in answers]
        return Use(
            purpose=self._what,
            model=self.model.spec,
            asked=len(answers),
            cached=cached,
            failed=failed,
            prompt_tokens=sum(answer.usage.prompt_tokens for answer in answers),
            completion_tokens=sum(replies),
            completion_squares=sum(tokens * tokens for tokens in replies),
            seconds=seconds,
        )


def share(part: int, of: int) -> str:
    """A percentage, a dash of nothing."""
    return f"{part / of:.1%}" if of else "–"


def short(count: int) -> str:
    """A count with at most three digits before its unit."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def option_key(identity: str, messages: Sequence[Message], options: Sequence[str]) -> str:
    """The key under which the answer of a model of that identity is stored."""
    return content_hash(identity, list(options), [m.model_dump() for m in messages])


def generations(
    model: ChatModel,
    requests: Sequence[GenerateRequest],
    sampling: Sampling,
    store: AnswerStore,
    reporter: Reporter,
    *,
    what: str,
    max_failure_rate: float = 0.05,
) -> list[Answer]:
    """A text for every request, in order. A failed one carries its reason, and is asked again on a rerun.

    Raises:
        RunHalted: more than `max_failure_rate` failed.
    """
    asking = Asking(model, store, reporter, what=what, max_failure_rate=max_failure_rate)
    answers: list[Answer] = []
    for block in blocks(requests, BLOCK):
        answers += asking.texts(block, sampling)
        reasons = [a.reason for a in answers[-len(block) :] if a.reason]
        asking.count_failures(asking.failed, len(answers), reasons[-1] if reasons else None)
        asking.progress(len(answers), len(requests))
    return answers


def blocks(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`rows` in consecutive pieces of `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _as_answer(answer: OptionLogprobs | Generation | Failure) -> Answer:
    if isinstance(answer, Failure):
        return Answer(reason=answer.reason or "the engine gave no reason")
    if isinstance(answer, Generation):
        return Answer(text=answer.text, finished=answer.finished)
    if not all(map(math.isfinite, answer.logprobs)):
        return Answer(reason=f"log-probabilities are not finite: {list(answer.logprobs)!r}")
    return Answer(logprobs=answer.logprobs)


def _parse(payload: str, store: AnswerStore) -> Answer:
    try:
        return Answer.model_validate_json(payload)
    except ValidationError as error:
        fix = "delete the file to ask everything again"
        raise InputError(f"damaged answer: {error.errors()[0]['msg']}", file=store.path, fix=fix) from None

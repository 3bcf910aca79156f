"""Asks a chat model through an answer store: what is stored is never asked again, what is answered is stored first.

Requests go out in fixed chunks of the whole list, and a chunk is stored in one transaction. A rerun therefore asks the
missing chunks in the very batches in which an uninterrupted run asks them, and gets the same floating-point answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from rlaif.critique.compare import OPTIONS, Question
from rlaif.critique.verdict import judge
from rlaif.ports.chat import ChatModel, Failure, GenerateRequest, OptionLogprobs, OptionRequest, Sampling
from rlaif.ports.reporter import Reporter
from rlaif.records.base import Record
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import content_hash
from rlaif.records.judgement import Judgement
from rlaif.records.store import AnswerStore

CHUNK = 256


class Written(Record):
    """A generation as the store keeps it: text, or the reason why there is none."""

    text: str | None
    finished: bool
    reason: str | None = None


A = TypeVar("A", bound=Record)


class Tally(NamedTuple):
    """What asking came to."""

    cached: int
    asked: int
    failed: int


def judgements(
    model: ChatModel,
    questions: Sequence[Question],
    store: AnswerStore,
    reporter: Reporter,
    *,
    what: str,
    max_failure_rate: float,
) -> tuple[list[Judgement], Tally]:
    """A judgement for every question, in order. Stored failures are asked again; stored answers are not.

    Raises:
        RunHalted: more than `max_failure_rate` of the judgements so far failed (checked from the first chunk on).
    """
    identity = _identity(model)
    keys = [question.key(identity) for question in questions]

    def ask(rows: list[int]) -> list[Judgement]:
        answers = model.option_logprobs([OptionRequest(questions[i].messages, OPTIONS) for i in rows])
        return [_judgement(questions[i], keys[i], answer) for i, answer in zip(rows, answers, strict=True)]

    stored, tally = _through_store(
        keys, store, Judgement, ask, reporter, what, lambda j: j.status == "failed", max_failure_rate
    )
    # A stored answer may have been asked under another pair id or principle id with the same text.
    named = [
        j.model_copy(update=dict(zip(("pair_id", "principle_id", "wording", "order"), q[:4], strict=True)))
        for q, j in zip(questions, stored, strict=True)
    ]
    return named, tally


def generations(
    model: ChatModel,
    requests: Sequence[GenerateRequest],
    sampling: Sampling,
    store: AnswerStore,
    reporter: Reporter,
    *,
    what: str,
    max_failure_rate: float = 0.05,
) -> list[Written]:
    """A generation for every request, in order. A failed one carries its reason, and is asked again on a rerun.

    Raises:
        RunHalted: more than `max_failure_rate` failed.
    """
    identity = _identity(model)
    keys = [content_hash(identity, sampling, r.seed, [m.model_dump() for m in r.messages]) for r in requests]

    def ask(rows: list[int]) -> list[Written]:
        answers = model.generate([requests[i] for i in rows], sampling)
        return [
            Written(text=None, finished=False, reason=answer.reason)
            if isinstance(answer, Failure)
            else Written(text=answer.text, finished=answer.finished)
            for answer in answers
        ]

    written, _ = _through_store(keys, store, Written, ask, reporter, what, lambda g: g.text is None, max_failure_rate)
    return written


def _identity(model: ChatModel) -> str:
    """Engine and model content; not the path, so that a moved model keeps its answers."""
    return f"{model.spec.partition(':')[0]}@{model.digest}"


def _judgement(question: Question, key: str, answer: OptionLogprobs | Failure) -> Judgement:
    if isinstance(answer, Failure):
        return judge(question, key, None, answer.reason)
    return judge(question, key, answer.logprobs, None)


def _through_store(
    keys: Sequence[str],
    store: AnswerStore,
    row_type: type[A],
    ask: Callable[[list[int]], list[A]],
    reporter: Reporter,
    what: str,
    is_failure: Callable[[A], bool],
    max_failure_rate: float,
) -> tuple[list[A], Tally]:
    answers: list[A] = []
    cached = asked = failed = 0
    for start in range(0, len(keys), CHUNK):
        chunk = list(range(start, min(start + CHUNK, len(keys))))
        known = {k: _parse(row_type, v, store) for k, v in store.get(keys[i] for i in chunk).items()}
        known = {k: row for k, row in known.items() if not is_failure(row)}
        missing = [i for i in chunk if keys[i] not in known]
        if missing:
            fresh = dict(zip((keys[i] for i in missing), ask(missing), strict=True))
            store.put({k: row.model_dump_json() for k, row in fresh.items()})
            known.update(fresh)
        rows = [known[keys[i]] for i in chunk]
        answers += rows
        asked += len(missing)
        cached += len(chunk) - len(missing)
        failed += sum(map(is_failure, rows))
        reporter.progress(what, len(answers), len(keys), {"cached": cached, "failed": failed})
        if failed > max_failure_rate * len(answers):
            _halt(what, failed, len(answers), max_failure_rate, rows)
    return answers, Tally(cached, asked, failed)


def _parse(row_type: type[A], payload: str, store: AnswerStore) -> A:
    try:
        return row_type.model_validate_json(payload)
    except ValidationError as error:
        fix = "delete the file to ask everything again"
        raise InputError(f"damaged answer: {error.errors()[0]['msg']}", file=store.path, fix=fix) from None


def _halt(what: str, failed: int, total: int, limit: float, rows: Sequence[Record]) -> None:
    reasons = [str(getattr(row, "reason", "")) for row in rows if getattr(row, "reason", None)]
    example = f" The last one: {reasons[-1]}." if reasons else ""
    raise RunHalted(
        f"{what}: {failed} of {total} failed, more than the allowed {limit:.0%}.{example} "
        "Answers so far are stored; run the same command again after mending it, or raise max_failure_rate"
    )

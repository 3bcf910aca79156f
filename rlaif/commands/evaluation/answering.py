"""What each model replies: asked through the answer store, or read from a file of recorded outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rlaif.critique import dialogue, known_answers
from rlaif.ports import answers
from rlaif.ports.answers import Asking
from rlaif.ports.chat import ChatModel, GenerateRequest, OptionRequest, Sampling
from rlaif.ports.engines import Engines
from rlaif.records import seeds
from rlaif.records.answer import Answer
from rlaif.records.evaluation import Choices, Contestant, ModelReply
from rlaif.records.store import AnswerStore
from rlaif.records.tasks import Recorded, Task, TaskSet

NOT_RECORDED = "the file of recorded outputs has no reply to this prompt"


class Drawing(NamedTuple):
    """How replies are drawn, and how many may fail."""

    sampling: Sampling
    seed: int
    max_failure_rate: float


class Answered(NamedTuple):
    """One model's part of one prompt set: a row for each prompt, and its choices where there are questions."""

    rows: list[ModelReply]
    choices: Choices | None


def ask(
    engines: Engines, one: Contestant, sets: Sequence[TaskSet], drawing: Drawing, store: AnswerStore
) -> dict[str, Answered]:
    """A model's replies to all prompt sets, and the probabilities of its choices.

    Raises:
        RunHalted: too many failed.
    """
    model = engines.chat(one.source)
    found = {}
    for own in sets:
        what = f"replies of {one.name}" if len(sets) == 1 else f"replies of {one.name}, {own.name}"
        rows = _written(engines, model, one.name, own, drawing, store, what) if own.written else []
        choices = _choices(engines, model, own.questions, drawing, store, what) if own.questions else None
        found[own.name] = Answered(rows, choices)
    return found


def recorded(one: Contestant, sets: Sequence[TaskSet], read: Recorded) -> dict[str, Answered]:
    """The same from a file. Choices need probabilities, which a file has none of."""
    found = {}
    for own in sets:
        replies = read.replies[own.name]
        rows = [_row(own, one.name, task, replies.get(task.id), None, NOT_RECORDED) for task in own.written]
        count = len(own.questions)
        choices = known_answers.unread(count, "recorded outputs have no probabilities") if count else None
        found[own.name] = Answered(rows, choices)
    return found


def _written(
    engines: Engines, model: ChatModel, name: str, own: TaskSet, drawing: Drawing, store: AnswerStore, what: str
) -> list[ModelReply]:
    """Replies turn by turn: the second turns of all dialogues are asked for when the first replies are there."""
    tasks = own.written
    replies: list[list[str]] = [[] for _ in tasks]
    finished: list[list[bool]] = [[] for _ in tasks]
    reasons: dict[int, str] = {}
    for turn in range(1 + max(len(task.turns) for task in tasks)):
        open_ = [i for i, task in enumerate(tasks) if turn <= len(task.turns) and i not in reasons]
        requests = [_request(tasks[i], replies[i], drawing.seed) for i in open_]
        said = what if not turn else f"{what}, turn {turn + 1}"
        drawn = answers.generations(
            *(model, requests, drawing.sampling, store, engines.reporter),
            what=said,
            max_failure_rate=drawing.max_failure_rate,
        )
        for i, answer in zip(open_, drawn, strict=True):
            if answer.text is None:
                reasons[i] = answer.reason or "no text"
                continue
            replies[i].append(answer.text)
            finished[i].append(answer.finished)
    return [
        _row(own, name, task, None if i in reasons else replies[i], finished[i], reasons.get(i))
        for i, task in enumerate(tasks)
    ]


def _request(task: Task, replies: Sequence[str], seed: int) -> GenerateRequest:
    # The same seeds for every model: what differs is the model.
    role = "evaluate" if not replies else f"evaluate-turn-{len(replies)}"
    messages = dialogue.so_far(task.messages, replies, task.turns)
    return GenerateRequest(messages, seeds.derive(seed, task.id, role))


def _row(
    own: TaskSet, name: str, task: Task, replies: list[str] | None, finished: list[bool] | None, reason: str | None
) -> ModelReply:
    return ModelReply(
        set=own.name,
        prompt_id=task.id,
        model=name,
        messages=task.messages,
        turns=task.turns,
        replies=replies,
        finished=finished if replies is not None else None,
        reason=reason if replies is None else None,
    )


def _choices(
    engines: Engines, model: ChatModel, questions: Sequence[Task], drawing: Drawing, store: AnswerStore, what: str
) -> Choices:
    if model.reading != "logprobs":
        return known_answers.unread(len(questions), f"{model.spec} gives no log-probabilities")
    asking = Asking(
        model,
        store,
        engines.reporter,
        what=what.replace("replies", "choices", 1),
        max_failure_rate=drawing.max_failure_rate,
    )
    read: list[Answer] = []
    for block in answers.blocks(questions, answers.BLOCK):
        read += asking.options([OptionRequest(task.messages, tuple(task.choices)) for task in block])
        reasons = [a.reason for a in read if a.reason]
        asking.count_failures(asking.failed, len(read), reasons[-1] if reasons else None)
        asking.progress(len(read), len(questions))
    pairs = zip(read, questions, strict=True)
    return known_answers.measure([(answer.logprobs, task.answers) for answer, task in pairs])

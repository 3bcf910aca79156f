"""What a model under evaluation is asked: prompt sets of any shape, and outputs that were recorded elsewhere.

A row of a prompt set is one of these:

- `prompt` (or `messages`, or `instruction`): a reply is written, and judged beside those of others;
- the same with `turns`, further things that the user says: a reply is written after each, and the whole dialogue
  is judged;
- `prompt` with `choices` and `answer` (an index or a text, or a list of them), or with the `corrects` and `incorrects`
  of the CAI paper's files: the probabilities of the choices are read, and nothing is written;
- pairs of any shape (RewardBench, HH-RLHF transcripts): their prompts.

`safety` says "safe", "unsafe" or "looks-unsafe" (safe, though its words look otherwise); `harmful: true` or `false` is
read as unsafe or safe. Both may stand in `meta`. A category is found as in pairs (`category`, `subset`, `source`).
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import Field

from rlaif.records.base import Record
from rlaif.records.errors import InputError
from rlaif.records.evaluation import Safety
from rlaif.records.files import content_hash, file_digest
from rlaif.records.inputs import prompt_source
from rlaif.records.prompt import Message
from rlaif.records.rows import Row, build, raw_rows, response_text, row_id, row_prompt
from rlaif.records.shapes import meta_of, pairs_of

OUTPUTS = ("response", "output", "chosen")  # where a recorded reply stands; AlpacaEval says output


class Task(Record):
    """A prompt, perhaps with further user turns, or a question with choices of which those of `answers` are right."""

    id: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    turns: list[str] = Field(default_factory=list)
    choices: list[str] = Field(default_factory=list)
    answers: list[int] = Field(default_factory=list)
    safety: Safety | None = None
    category: str | None = None

    @property
    def asks(self) -> str:
        """Identity of what it asks, whatever its id."""
        return content_hash([m.model_dump() for m in self.messages], self.turns)


class TaskSet(NamedTuple):
    """A prompt set, under the name by which it is reported."""

    name: str
    digest: str
    tasks: list[Task]

    @property
    def written(self) -> list[Task]:
        """Those to which a reply is written."""
        return [task for task in self.tasks if not task.choices]

    @property
    def questions(self) -> list[Task]:
        """Those of which the choices are read."""
        return [task for task in self.tasks if task.choices]


def read_sets(references: list[str], limit: int | None) -> list[TaskSet]:
    """Prompt sets: files, shipped names, Hub data sets. `limit` rows of each.

    Raises:
        InputError: a file is missing, empty or malformed, an id occurs twice, or two sets have one name.
    """
    short = [Path(reference).name.removesuffix(".jsonl") for reference in references]
    names = short if len(set(short)) == len(short) else references
    if len(set(names)) < len(names):
        raise InputError("a prompt set is named twice", fix="name it once", field="--prompts")
    return [_read(name, reference, limit) for name, reference in zip(names, references, strict=True)]


def _read(name: str, reference: str, limit: int | None) -> TaskSet:
    source = prompt_source(reference)
    tasks: dict[str, Task] = {}
    for row in islice(raw_rows(source), limit):
        task = _task(row)
        if task.id in tasks:
            raise row.fault(f"the id {task.id!r} occurs twice", "give every row its own id, or none any", "id")
        tasks[task.id] = task
    if not tasks:
        raise InputError("there are no rows here", file=source, fix="give at least one row")
    path = Path(source).expanduser()
    return TaskSet(name, file_digest(path) if path.is_file() else reference, list(tasks.values()))


def _task(row: Row) -> Task:
    data, meta = row.data, meta_of(row)
    values: dict[str, Any] = {"id": row_id(row), "safety": _safety(row, meta)}
    if isinstance(meta.get("category"), str):
        values["category"] = meta["category"]
    if any(key in data for key in ("prompt", "messages", "instruction")):
        values["messages"] = row_prompt(row)
    else:
        pair = next(pairs_of(row, 1, 0))
        values["messages"] = pair.messages
    if "choices" in data or "corrects" in data:
        values["choices"], values["answers"] = _choices(row)
    elif "turns" in data:
        values["turns"] = _texts(row, "turns")
    task: Task = build(row, Task, **values)
    return task


def _safety(row: Row, meta: dict[str, Any]) -> str | None:
    said = row.data.get("safety", meta.get("safety"))
    if said is None:
        harmful = row.data.get("harmful", meta.get("harmful"))
        return {True: "unsafe", False: "safe"}.get(harmful) if isinstance(harmful, bool) else None
    if said not in get_args(Safety):
        raise row.fault(f"{said!r} says nothing of safety", f"write one of {', '.join(get_args(Safety))}", "safety")
    return str(said)


def _choices(row: Row) -> tuple[list[str], list[int]]:
    """The choices, without the space around them, and the numbers of the right ones."""
    if "corrects" in row.data:
        right, wrong = _texts(row, "corrects"), _texts(row, "incorrects")
        choices, answers = [*right, *wrong], list(range(len(right)))
    else:
        choices = _texts(row, "choices")
        said = row.data.get("answer")
        answers = [_index(row, choices, one) for one in (said if isinstance(said, list) else [said])]
    if len(set(choices)) < max(2, len(choices)):
        raise row.fault("choices must be two or more different texts", "give each once", "choices")
    if not 0 < len(set(answers)) < len(choices):
        raise row.fault("some choices must be right and some wrong", "say which are right", "answer")
    return choices, sorted(set(answers))


def _index(row: Row, choices: list[str], said: Any) -> int:
    if isinstance(said, str) and said.strip() in choices:
        return choices.index(said.strip())
    if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < len(choices):
        return said
    raise row.fault(f"{said!r} is none of the choices", "give the text of a choice, or its number from 0", "answer")


def _texts(row: Row, field: str) -> list[str]:
    value = row.data.get(field)
    if not isinstance(value, list) or not value or not all(isinstance(x, str) and x.strip() for x in value):
        raise row.fault(f"{field} must be a list of texts", "give at least one, none of them empty", field)
    return [text.strip() for text in value]


class Recorded(NamedTuple):
    """What a file of outputs holds for some prompt sets: by set and prompt id a text for each turn."""

    replies: dict[str, dict[str, list[str]]]
    rows: int
    unmatched: int  # rows that answer no prompt of these sets
    empty: int  # rows that answer one with null


def read_recorded(path: str, sets: list[TaskSet]) -> Recorded:
    """Outputs of another program: rows of `prompt` or `id`, and `response`. A row with a prompt is found by it, another
    by its id.

    Raises:
        InputError: the file or a row is at fault, two rows answer one prompt, or no row answers any.
    """
    by_text, by_id = _known(sets)
    found = Recorded({own.name: {} for own in sets}, 0, 0, 0)
    lines: dict[tuple[str, str], int] = {}
    for row in raw_rows(path):
        field = next((name for name in OUTPUTS if name in row.data), None)
        if field is None:
            keys = ", ".join(sorted(row.data)) or "nothing"
            raise row.fault(f"this row has no reply: it has {keys}", 'write {"id": ..., "response": "..."}', "response")
        places = _places(row, by_text, by_id)
        value = row.data[field]
        found = found._replace(
            rows=found.rows + 1,
            unmatched=found.unmatched + (not places),
            empty=found.empty + (bool(places) and value is None),
        )
        for name, task in places:
            if (before := lines.setdefault((name, task.id), row.line)) != row.line:
                problem = f"this is a second reply to {task.id!r}, after line {before}"
                raise row.fault(problem, "keep one reply to each prompt", "id")
            if value is not None:
                found.replies[name][task.id] = _reply(row, value, field, task)
    if not any(found.replies.values()):
        fix = "give each row the `id` or the `prompt` of a row of the prompt set"
        raise InputError("no row answers a prompt of the prompt sets", file=path, fix=fix)
    return found


Places = list[tuple[str, Task]]


def _known(sets: list[TaskSet]) -> tuple[dict[str, Places], dict[str, Places]]:
    """The tasks that want a reply, by what they ask and by id."""
    by_text: dict[str, Places] = {}
    by_id: dict[str, Places] = {}
    for own in sets:
        for task in own.written:
            by_text.setdefault(task.asks, []).append((own.name, task))
            by_id.setdefault(task.id, []).append((own.name, task))
    return by_text, by_id


def _places(row: Row, by_text: dict[str, Places], by_id: dict[str, Places]) -> Places:
    """Which prompts a row answers."""
    if any(row.data.get(key) is not None for key in ("prompt", "messages", "instruction")):
        turns = _texts(row, "turns") if "turns" in row.data else []
        return by_text.get(Task(id="x", messages=row_prompt(row), turns=turns).asks, [])
    name = row.data.get("id", row.data.get("prompt_id"))
    if name in (None, ""):
        raise row.fault("nothing says which prompt this row answers", "give it the prompt's `id`, or `prompt`", "id")
    places = by_id.get(str(name), [])
    if len({own for own, _ in places}) > 1:
        raise row.fault(f"the id {name!r} occurs in several prompt sets", "give the row its `prompt` too", "id")
    return places


def _reply(row: Row, value: Any, field: str, task: Task) -> list[str]:
    if not task.turns:
        return [response_text(row, value, field)]
    wanted = 1 + len(task.turns)
    if not isinstance(value, list) or len(value) != wanted or not all(isinstance(text, str) for text in value):
        raise row.fault(f"{task.id!r} has {wanted} turns to answer", "give a list of as many texts", field)
    return list(value)

"""Reads what people bring: prompt sets and preference pairs, in the shapes that the ecosystem uses.

Pairs may be rows of `prompt` + two or more `responses` (or `completions`, as UltraFeedback has them), of `prompt` +
`chosen` + `rejected` (TRL), HH-RLHF transcripts (`chosen`, `rejected`), or the HHH evaluations (`text_correct`,
`text_incorrect`); as JSONL, parquet, or a Hub data set's name. The shape is recognised per row. Every fault names the
file, the line and the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from rlaif.records import shipped
from rlaif.records.errors import InputError
from rlaif.records.pair import Pair
from rlaif.records.pairing import schedule
from rlaif.records.prompt import Message, Prompt

TURN = re.compile(r"\n\n(Human|Assistant):[ ]?")
PAIR_SHAPES = "prompt+responses, prompt+chosen+rejected, chosen+rejected transcripts, or text_correct+text_incorrect"


RESERVED = "canary:"  # ids of pairs that rlaif puts beside real ones


class Row(NamedTuple):
    """One raw row and where it stands."""

    file: str
    line: int
    data: dict[str, Any]

    def fault(self, problem: str, fix: str, field: str | None = None) -> InputError:
        return InputError(problem, fix=fix, file=self.file, line=self.line, field=field)


def read_prompts(reference: str, limit: int | None = None) -> list[Prompt]:
    """Read prompts from a file or a shipped set (`tinyworld-train`). A row has `messages` or `prompt`, and may have
    `id` and `meta`.

    Raises:
        InputError: missing or empty file, a row that is not a prompt, two rows with one id.
    """
    source = prompt_source(reference)
    prompts: list[Prompt] = []
    for row in islice(raw_rows(source), limit):
        messages = _messages(row, row.data.get("messages", row.data.get("prompt")))
        _ends_with_user(row, messages)
        prompts.append(_build(row, Prompt, id=row_id(row), messages=messages, meta=row.data.get("meta") or {}))
    return _unique(source, prompts)


def prompt_source(reference: str) -> str:
    """The path of a shipped prompt set, or the reference itself."""
    named = shipped.folder("prompts") / "sets" / f"{reference}.jsonl"
    return str(named) if "/" not in reference and named.is_file() else reference


def read_pairs(reference: str, limit: int | None = None) -> list[Pair]:
    """All preference pairs; see `iterate_pairs`."""
    return list(iterate_pairs(reference, limit))


def iterate_pairs(
    reference: str, limit: int | None = None, *, most: int | None = None, seed: int = 0
) -> Iterator[Pair]:
    """Read preference pairs, a row at a time; where the row says which response was chosen, `preferred` is set.

    A row with more than two responses gives a pair for every two of them, or a seeded tournament of at most `most`;
    their ids are the row's with the two numbers.

    Args:
        limit: use only the first rows.

    Raises:
        InputError: missing or empty file, a row of no known shape, fewer than two responses, an id twice.
    """
    seen: set[str] = set()
    for row in islice(raw_rows(reference), limit):
        for pair in _pairs(row, most, seed):
            if pair.id.startswith(RESERVED):
                raise row.fault(
                    f"the id {pair.id!r} is one of rlaif's own", f"begin it with something else than {RESERVED}"
                )
            if pair.id in seen:
                fix = "give every row its own id, or none any"
                raise row.fault(f"the id {pair.id!r} occurs twice", fix, "id")
            seen.add(pair.id)
            yield pair


def raw_rows(reference: str) -> Iterator[Row]:
    """The rows of a JSONL or parquet file, or of a Hub data set (`owner/name` or `owner/name:split`), in order."""
    path = Path(reference).expanduser()
    if path.is_dir():
        raise InputError("this is a folder", file=reference, fix="name a .jsonl or .parquet file")
    if path.suffix == ".parquet" and path.is_file():
        yield from _parquet(path)
    elif path.is_file():
        yield from _jsonl(path)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+(:\w+)?", reference) and not path.suffix and not path.parent.is_dir():
        yield from _hub(reference)
    else:
        raise InputError("there is no such file", file=reference, fix="check the path")


def _jsonl(path: Path) -> Iterator[Row]:
    empty = True
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if not raw.strip():
                continue
            empty = False
            try:
                data = json.loads(raw)
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                fix = "repair or remove this line (a half-written file ends like this)"
                raise InputError(f"not valid JSON: {error}", file=path, line=number, fix=fix) from None
            if not isinstance(data, dict):
                raise InputError("a row must be a JSON object", file=path, line=number, fix='write {"id": ..., ...}')
            yield Row(str(path), number, data)
    if empty:
        raise InputError("this file is empty", file=path, fix="give it at least one row")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as parquet

    try:
        table = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow raises several unrelated classes for a damaged file
        raise InputError(f"not a readable parquet file: {error}", file=path, fix="write it again") from None
    number = 0
    for batch in table.iter_batches(1000):
        for data in batch.to_pylist():
            number += 1
            yield Row(str(path), number, data)
    if not number:
        raise InputError("this file is empty", file=path, fix="give it at least one row")


def _hub(reference: str) -> Iterator[Row]:
    import datasets

    name, _, split = reference.partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train", streaming=True)
    except Exception as error:  # network, permission, missing split: the library has no common base class
        fix = "check the name and the network, or give a local .jsonl or .parquet file"
        raise InputError(f"cannot load this data set: {error}", file=reference, fix=fix) from None
    for number, data in enumerate(rows, start=1):
        yield Row(reference, number, dict(data))


def _pairs(row: Row, most: int | None, seed: int) -> Iterator[Pair]:
    """The pairs of one row."""
    responses = row.data.get("responses", row.data.get("completions"))
    if not isinstance(responses, list) or len(responses) <= 2:
        yield _pair(row)
        return
    messages = row_prompt(row)
    texts = [response_text(row, r, f"responses[{i}]") for i, r in enumerate(responses)]
    name, meta = row_id(row), dict(row.data.get("meta") or {})
    for i, j in schedule(len(texts), most, seed, name):
        if texts[i] != texts[j]:
            both = (texts[i], texts[j])
            yield _build(row, Pair, id=f"{name}:{i}-{j}", messages=messages, responses=both, meta=meta)


def _pair(row: Row) -> Pair:
    data, meta = row.data, dict(row.data.get("meta") or {})
    preferred: Literal[0, 1] | None = None
    if "responses" in data or "completions" in data:
        responses = data.get("responses", data.get("completions"))
        if not isinstance(responses, list) or len(responses) != 2:
            found = f"{len(responses)} response(s)" if isinstance(responses, list) else "no list"
            raise row.fault(f"a pair needs two responses or more, found {found}", "give two texts", "responses")
        messages = _messages(row, data.get("prompt", data.get("messages", data.get("instruction"))))
        texts = [response_text(row, r, f"responses[{i}]") for i, r in enumerate(responses)]
        preferred = data.get("preferred")
    elif "chosen" in data and "rejected" in data:
        messages, texts = _chosen_rejected(row, data, meta)
        preferred = 0
    elif "text_correct" in data and "text_incorrect" in data:
        messages, texts = _transcripts(row, data["text_correct"], data["text_incorrect"], meta)
        preferred = 0
    else:
        keys = ", ".join(sorted(data)) or "nothing"
        raise row.fault(f"this row is no pair: it has {keys}", f"use one of: {PAIR_SHAPES}")
    _ends_with_user(row, messages)
    pair: Pair = _build(
        row, Pair, id=row_id(row), messages=messages, responses=(texts[0], texts[1]), preferred=preferred, meta=meta
    )
    return pair


def _chosen_rejected(row: Row, data: dict[str, Any], meta: dict[str, Any]) -> tuple[list[Message], list[str]]:
    chosen, rejected = data["chosen"], data["rejected"]
    if "prompt" not in data:
        if isinstance(chosen, str) and isinstance(rejected, str):
            return _transcripts(row, chosen, rejected, meta)
        a, b = _messages(row, chosen, "chosen"), _messages(row, rejected, "rejected")
        return _diverge(row, a, b, meta)
    return _messages(row, data["prompt"]), [
        response_text(row, chosen, "chosen"),
        response_text(row, rejected, "rejected"),
    ]


def _transcripts(row: Row, first: Any, second: Any, meta: dict[str, Any]) -> tuple[list[Message], list[str]]:
    return _diverge(row, _transcript(row, first), _transcript(row, second), meta)


def _transcript(row: Row, text: Any) -> list[Message]:
    if not isinstance(text, str) or not TURN.match(text):
        raise row.fault("not a transcript", 'start it with "\\n\\nHuman: "')
    pieces = TURN.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        Message(role=roles[role], content=content.strip())  # type: ignore[arg-type]
        for role, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def _diverge(row: Row, a: list[Message], b: list[Message], meta: dict[str, Any]) -> tuple[list[Message], list[str]]:
    """The shared turns are the prompt. Where transcripts part before the last turn, the responses are all the rest of
    each, later Human turns included, and `meta.diverges_early` says so."""
    shared = 0
    while shared < min(len(a), len(b)) - 1 and a[shared] == b[shared]:
        shared += 1
    while shared > 0 and a[shared - 1].role != "user":
        shared -= 1
    if shared == 0:
        raise row.fault("the two transcripts share no first human turn", "pair responses to one conversation")
    if max(len(a), len(b)) - shared > 1:
        meta["diverges_early"] = True
    return a[:shared], [_rest(a[shared:]), _rest(b[shared:])]


def _rest(turns: list[Message]) -> str:
    text = "\n\n".join(f"{'Human' if m.role == 'user' else 'Assistant'}: {m.content}" for m in turns)
    return text.removeprefix("Assistant: ")


def _messages(row: Row, value: Any, field: str = "prompt") -> list[Message]:
    if isinstance(value, str) and value.strip():
        if TURN.match(value):
            turns = _transcript(row, value)
            return turns[:-1] if turns[-1].role == "assistant" and not turns[-1].content else turns
        return [Message(role="user", content=value)]
    if not isinstance(value, list) or not value:
        raise row.fault("a prompt must be text or a list of messages", 'write {"prompt": "..."}', field)
    try:
        return [Message.model_validate({"role": m["role"], "content": m["content"]}) for m in value]
    except (ValidationError, KeyError, TypeError):
        fix = 'write {"role": "user" | "assistant" | "system", "content": "..."}'
        raise row.fault("a message is malformed", fix, field) from None


def row_prompt(row: Row) -> list[Message]:
    """The conversation of a row, under `prompt`, `messages` or `instruction`.

    Raises:
        InputError: there is none, or it does not end with a user turn.
    """
    messages = _messages(row, row.data.get("prompt", row.data.get("messages", row.data.get("instruction"))))
    _ends_with_user(row, messages)
    return messages


def response_text(row: Row, value: Any, field: str) -> str:
    """The text of a response: a string, one assistant message, or an UltraFeedback completion."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        return _messages(row, value, field)[0].content
    if isinstance(value, dict) and isinstance(value.get("response"), str):
        return str(value["response"])
    raise row.fault("a response must be text", "give a string, or one assistant message", field)


def _ends_with_user(row: Row, messages: list[Message]) -> None:
    if messages[-1].role != "user":
        raise row.fault("the conversation must end with a user turn", "move the last turn to the responses", "prompt")


def row_id(row: Row) -> str:
    """The row's own id, or one from its line."""
    value = row.data.get("id", row.data.get("prompt_id"))
    return str(value) if value not in (None, "") else f"row-{row.line}"


def _build(row: Row, model: Any, **values: Any) -> Any:
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise row.fault(first["msg"], "correct this value", field) from None


def _unique(source: str, rows: list[Any]) -> list[Any]:
    if not rows:
        raise InputError("there are no rows here", file=source, fix="give at least one row")
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if row.id in seen:
            fix = "give every row its own id, or none any"
            raise InputError(f"the id {row.id!r} occurs twice", file=source, field=f"row {number}", fix=fix)
        seen.add(row.id)
    return rows

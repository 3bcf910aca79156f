"""Raw rows of the files that people bring, and the parts that rows of every shape have: a conversation, texts, an id.

Rows come as JSONL, CSV, parquet, or a Hub data set's name. Every fault names the file, the line and the field.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from rlaif.records.errors import InputError
from rlaif.records.files import nearest
from rlaif.records.prompt import Message

TURN = re.compile(r"\n\n(Human|Assistant):[ ]?")


class Row(NamedTuple):
    """One raw row and where it stands."""

    file: str
    line: int
    data: dict[str, Any]

    def fault(self, problem: str, fix: str, field: str | None = None) -> InputError:
        return InputError(problem, fix=fix, file=self.file, line=self.line, field=field)


def raw_rows(reference: str) -> Iterator[Row]:
    """The rows of a JSONL, CSV or parquet file, or of a Hub data set (`owner/name` or `owner/name:split`), in order."""
    path = Path(reference).expanduser()
    if path.is_dir():
        raise InputError("this is a folder", file=reference, fix="name a .jsonl, .csv or .parquet file in it")
    if path.is_file():
        yield from {".parquet": _parquet, ".csv": _csv}.get(path.suffix.lower(), _jsonl)(path)
    elif path.exists():
        raise InputError("this is not a regular file", file=reference, fix="give the path of an ordinary file")
    elif re.fullmatch(r"[\w.-]+/[\w.-]+(:\w+)?", reference) and not path.suffix and not path.parent.is_dir():
        yield from _hub(reference)
    else:
        raise InputError("there is no such file", file=reference, fix=nearest(path) or "check the path")


# How the content of a file begins that is no JSONL, and what to do about it.
OTHERS = (
    (b"PAR1", "this is a parquet file", "give it a name that ends in .parquet"),
    (b"\x1f\x8b", "this file is compressed", "unpack it first: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "this file is compressed", "unpack it first: zstd -d FILE"),
    (b"PK\x03\x04", "this is a zip archive or a spreadsheet", "unpack it, or save it as .csv"),
    (b"[", "this is one JSON list, not a row a line", "make it JSONL: jq -c '.[]' FILE > rows.jsonl"),
)


def _jsonl(path: Path) -> Iterator[Row]:
    empty = True
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if not raw.strip():
                continue
            empty = False
            try:
                data = json.loads(raw)
            except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or a number of thousands of digits
                raise _no_row(path, number, raw, error) from None
            if not isinstance(data, dict):
                raise _no_row(path, number, raw, None)
            yield Row(str(path), number, data)
    if empty:
        raise _empty(path)


def _no_row(path: Path, number: int, raw: bytes, error: Exception | None) -> InputError:
    """What is wrong with a line that holds no row; of a file of another kind, which kind."""
    for mark, problem, fix in OTHERS if number == 1 else ():
        if raw.startswith(mark):
            return InputError(problem, file=path, fix=fix)
    if error is None:
        return InputError("a row must be a JSON object", file=path, line=number, fix='write {"id": ..., ...}')
    if isinstance(error, UnicodeDecodeError):
        return _encoding(path, number)
    fix = "repair or remove this line (a half-written file ends like this)"
    return InputError(f"not valid JSON: {error}", file=path, line=number, fix=fix)


def _csv(path: Path) -> Iterator[Row]:
    """Every cell is text; the first line names the columns."""
    csv.field_size_limit(sys.maxsize)  # replies may be long
    line = 0
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        while True:
            try:
                data = next(reader, None)
            except csv.Error as error:
                fix = "put texts with quotes, commas or line ends into quotes, and double the quotes inside"
                raise InputError(f"not valid CSV: {error}", file=path, line=reader.reader.line_num, fix=fix) from None
            except UnicodeDecodeError:
                raise _encoding(path, reader.reader.line_num + 1) from None
            if data is None:
                break
            line = reader.line_num
            if None in data or None in data.values():
                problem = (
                    f"this row has not as many cells as the first line, which names {len(reader.fieldnames or ())}"
                )
                raise InputError(problem, file=path, line=line, fix="put texts with commas or line ends into quotes")
            yield Row(str(path), line, dict(data))
    if not line:
        raise _empty(path)


def _encoding(path: Path, line: int) -> InputError:
    return InputError("this is not UTF-8", file=path, line=line, fix="save the file as UTF-8")


def _empty(path: Path) -> InputError:
    return InputError("this file is empty", file=path, fix="give it at least one row")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as parquet

    try:
        table = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow raises several unrelated classes for a damaged file
        problem = f"not a readable parquet file: {str(error).rstrip('.')}"
        raise InputError(problem, file=path, fix="write it again") from None
    number = 0
    for batch in table.iter_batches(1000):
        for data in batch.to_pylist():
            number += 1
            yield Row(str(path), number, data)
    if not number:
        raise _empty(path)


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


def transcript(row: Row, text: Any, field: str) -> list[Message]:
    """The turns of a text that alternates "Human:" and "Assistant:", as HH-RLHF has them."""
    if not isinstance(text, str) or not TURN.match(text):
        raise row.fault("not a transcript", 'start it with "\\n\\nHuman: "', field)
    pieces = TURN.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        Message(role=roles[role], content=content.strip())  # type: ignore[arg-type]
        for role, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def conversation(row: Row, value: Any, field: str = "prompt") -> list[Message]:
    """The turns of a text (one user turn, or a transcript without its last reply) or of a list of messages."""
    if isinstance(value, str) and value.strip():
        if TURN.match(value):
            turns = transcript(row, value, field)
            return turns[:-1] if turns[-1].role == "assistant" and not turns[-1].content else turns
        return [Message(role="user", content=value)]
    if not isinstance(value, list) or not value:
        raise row.fault("this must be text or a list of messages", f'write {{"{field}": "..."}}', field)
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
    prompt = conversation(row, row.data.get("prompt", row.data.get("messages", row.data.get("instruction"))))
    ends_with_user(row, prompt)
    return prompt


def response_text(row: Row, value: Any, field: str) -> str:
    """The text of a response: a string, one assistant message, or an UltraFeedback completion."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        return conversation(row, value, field)[0].content
    if isinstance(value, dict) and isinstance(value.get("response"), str):
        return str(value["response"])
    raise row.fault("a response must be text", "give a string, or one assistant message", field)


def ends_with_user(row: Row, messages: list[Message]) -> None:
    """Refuse a conversation that asks for no reply."""
    if messages[-1].role != "user":
        raise row.fault("the conversation must end with a user turn", "move the last turn to the responses", "prompt")


def row_id(row: Row) -> str:
    """The row's own id, or one from its line."""
    value = row.data.get("id", row.data.get("prompt_id"))
    return str(value) if value not in (None, "") else f"row-{row.line}"


def build(row: Row, model: Any, **values: Any) -> Any:
    """A record of the row's values; what does not fit is a fault of the row."""
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise row.fault(first["msg"], "correct this value", field) from None

"""Atomic files: a reader sees the old content or the new, never a part of either."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from rlaif.records.base import Record
from rlaif.records.errors import InputError
from rlaif.records.header import SCHEMA_VERSION, Header

R = TypeVar("R", bound=Record)
TEMPORARY = "rlaif-"  # in the names of what is being written


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{TEMPORARY}")
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give the path to an error of the disk that names none, as those of writing to an open file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well.

    A folder cannot be replaced in one step, so the old one is moved aside first: a crash between the two renames
    leaves no folder under the name, which reads as "not finished", never as a mixture.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.{TEMPORARY}"))
    try:
        yield temporary
        temporary.chmod(0o755)
        old = temporary.with_name(temporary.name + ".old")
        if folder.exists():
            folder.replace(old)
        temporary.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_bytes(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file that a person names.

    Raises:
        InputError: no such file, a folder, a pipe or a device, or unreadable.
    """
    try:
        if path.is_dir():
            raise InputError("this is a folder, not a file", fix="name the file inside it", file=path)
        if path.exists() and not path.is_file():  # a pipe or a device might never end
            raise InputError("this is not a regular file", fix="give the path of an ordinary file", file=path)
        with path.open("rb") as stream:
            return stream.read(most)
    except FileNotFoundError:
        raise InputError("there is no such file", fix=nearest(path) or "correct the path", file=path) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        problem = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InputError(problem, fix="correct the path or its rights", file=path) from None


def nearest(path: Path) -> str | None:
    """A question about the nearest name beside a path that leads nowhere, or that name with an ending."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return None
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7) or [
        name for name in sorted(names) if Path(name).stem == path.name
    ]
    return f"did you mean {str(path.parent / near[0])!r}?" if near else None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no NaN: the same value always gives the same text."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def content_hash(*values: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `values`; lone surrogates are hashed as they are."""
    text = "\x1e".join(canonical_json(v) for v in values)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file, or of a folder's files with their relative names."""
    digest = hashlib.sha256()
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def row_json(row: Record) -> str:
    """A row of a JSONL artifact: the same record always gives the same text. Half of a surrogate pair is an escape."""
    try:
        return row.model_dump_json()  # several times faster
    except PydanticSerializationError:  # half of a surrogate pair cannot be UTF-8
        return json.dumps(row.model_dump(mode="json"), sort_keys=True, allow_nan=False, separators=(",", ":"))


def parse_record(record_type: type[R], text: str | bytes) -> R:
    """The record of a JSON text, halves of surrogate pairs included, which pydantic's own parser refuses.

    Raises:
        ValidationError: it is torn, or does not fit.
    """
    try:
        return record_type.model_validate_json(text)
    except ValidationError as error:
        if error.errors()[0]["type"] not in ("json_invalid", "string_unicode"):
            raise
        try:
            data = json.loads(text)
        except ValueError:
            raise error from None
        return record_type.model_validate(data, strict=False)  # strict would want tuples where JSON has lists


def write_rows(path: Path, header: Header, rows: Iterable[Record]) -> int:
    """Write a JSONL artifact: the header, then a row a line. Returns the number of rows."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogatepass") as out:
        out.write(canonical_json(header) + "\n")
        for row in rows:
            out.write(row_json(row) + "\n")
            count += 1
    return count


def read_rows(path: Path, row_type: type[R], kind: str) -> list[R]:
    """All rows of a JSONL artifact; see `iterate_rows`."""
    return list(iterate_rows(path, row_type, kind))


def iterate_rows(path: Path, row_type: type[R], kind: str) -> Iterator[R]:
    """Read a JSONL artifact that starts with a header, a row at a time.

    Raises:
        InputError: the file is missing, torn, of another kind or schema version, or a row does not fit.
    """
    if not path.is_file():
        raise InputError("this artifact is missing", file=path, fix="run the stage that writes it")
    if path.stat().st_size == 0:
        raise InputError("this artifact is empty", file=path, fix="run the stage that writes it again")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if number == 1:
                    _check_header(Header.model_validate_json(line), kind, path)
                    continue
                row = parse_record(row_type, line.rstrip(b"\n"))
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(str(part) for part in first["loc"]) or None
                fix = "delete the stage's folder and run the same command again"
                raise InputError(f"damaged row: {first['msg']}", file=path, line=number, field=field, fix=fix) from None
            yield row


def read_json(path: Path, record_type: type[R]) -> R:
    """Read a JSON artifact of one record.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError("this artifact is missing", file=path, fix="name the folder that `rlaif label` wrote")
    try:
        return parse_record(record_type, path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        fix = "run the command that wrote it again"
        raise InputError(f"damaged artifact: {first['msg']}", file=path, field=field, fix=fix) from None


def _check_header(header: Header, kind: str, path: Path) -> None:
    if header.kind != kind or header.schema_version != SCHEMA_VERSION:
        found, wanted = f"{header.kind} v{header.schema_version}", f"{kind} v{SCHEMA_VERSION}"
        raise InputError(f"this file holds {found}, not {wanted}", file=path, line=1, fix="use --fresh to rebuild it")

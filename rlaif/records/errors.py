"""The one error that a person's input can cause.

Everything a user hands over (a path, a YAML file, a JSONL row, an engine name) is checked where it is read, and a
fault is raised as `InputError`: the command line prints it as one message and exits with code 2. Anything else that
escapes is a defect of rlaif and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class InputError(Exception):
    """A fault in what the user supplied: what is wrong, where, and how to mend it.

    Args:
        problem: what is wrong, one sentence; a final full stop, which other libraries' messages have, is dropped.
        fix: what to do about it, one sentence.
        file: the file that holds the fault, if one does.
        line: 1-based line in `file`.
        column: 1-based column in `line`, in characters.
        field: dotted name of the field, such as `principles[2].axis`.
    """

    def __init__(
        self,
        problem: str,
        *,
        fix: str = "",
        file: str | Path | None = None,
        line: int | None = None,
        column: int | None = None,
        field: str | None = None,
    ) -> None:
        self.problem = problem.rstrip().removesuffix(".")
        self.fix = fix
        self.file = str(file) if file is not None else None
        self.line = line
        self.column = column
        self.field = field
        super().__init__(self.problem)

    def __str__(self) -> str:
        where = self.file or ""
        if self.line is not None:
            where += f":{self.line}" if self.column is None else f":{self.line}:{self.column}"
        parts = [part for part in (where, self.field) if part]
        message = ": ".join([*parts, self.problem])
        return f"{message}. Fix: {self.fix}" if self.fix else message


class RunHalted(Exception):
    """The engine stopped on purpose because going on would turn a failure into a number.

    Raised for NaN losses, a failed sync canary, too many failed judgements. Exit code 3.
    """


class NotFinite(RunHalted):
    """A number in training is NaN or infinite.

    Args:
        message: names the tensor.
        tensor: its name; "" where there is none to show.
        values: the tensor itself, detached and on the CPU.
    """

    def __init__(self, message: str, tensor: str = "", values: Any = None) -> None:
        super().__init__(message)
        self.tensor = tensor
        self.values = values
        self.batch: Any = None  # what was being learnt from, as far as it had come; see rlaif.ports.halt

"""constitution -> prompts: the requests to train on and the held-out ones to be judged by."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from rlaif.ports.engines import Engines
from rlaif.records.errors import InputError
from rlaif.records.files import write_rows
from rlaif.records.inputs import read_prompts
from rlaif.records.prompt import Prompt
from rlaif.records.settings import Lineage, Settings


class Config(Settings):
    """Prompt files or shipped sets, and how many rows of each are used (from the top; all where not given)."""

    train: str = Field(description="prompts to train on: a file or a shipped set")
    test: str = Field(description="held-out prompts: a file or a shipped set")
    train_limit: int | None = Field(default=None, ge=1, description="use only the first rows")
    test_limit: int | None = Field(default=None, ge=1, description="use only the first rows")


class Inputs(NamedTuple):
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `train.jsonl`, `test.jsonl`, and `guard.jsonl`, which are for audits while the policy trains: the held-out
    prompts that `test_limit` leaves over, so that what is chosen by them is not judged by them; where none are left,
    those of the test.

    Raises:
        InputError: as `read`.
    """
    train, test = read(config)
    rest = read_prompts(config.test, None)[len(test) :]
    for name, rows in (("train", train), ("test", test), ("guard", rest or test)):
        write_rows(inputs.out / f"{name}.jsonl", inputs.lineage.header("prompts"), rows)
    engines.reporter.line(f"prompts: {len(train)} to train on, {len(test)} held out")
    return ["train.jsonl", "test.jsonl", "guard.jsonl"]


def read(config: Config) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to train on and the held-out ones. A conversation that stands in both is an error: it would not be
    held out.

    Raises:
        InputError: a file is missing, empty or malformed, or the two overlap.
    """
    train = read_prompts(config.train, config.train_limit)
    test = read_prompts(config.test, config.test_limit)
    seen = {tuple((m.role, m.content) for m in p.messages): p.id for p in train}
    for prompt in test:
        twin = seen.get(tuple((m.role, m.content) for m in prompt.messages))
        if twin is not None:
            problem = f"held-out prompt {prompt.id!r} is also training prompt {twin!r}"
            raise InputError(problem, file=config.test, fix="remove it from one of the two files")
    return train, test

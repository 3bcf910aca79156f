"""`rlaif gap`, from the command line to its files, with a random tiny policy and critics whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from rlaif.commands import gap
from rlaif.records.files import read_json, read_rows
from rlaif.records.gap import Gap, GapRow
from rlaif.records.label import Label
from rlaif.records.prompt import Message, Prompt
from rlaif.testing import scripts
from tests.commandline import Done, rlaif
from tests.tiny import tiny_model

PROMPTS = "".join(json.dumps({"id": f"p{n}", "prompt": f"Question {n}?"}) + "\n" for n in range(6))
HERE = "tests.commands.test_gap"


class Longer:
    """Finds the longer reply better, as the scripted critic does."""

    direction: ClassVar[dict[str, int]] = {"length": 1}

    def score(self, prompt: Prompt, reply: str) -> dict[str, float]:
        return {"length": float(len(reply))}

    def prefer(self, prompt: Prompt, a: str, b: str, principle: str) -> float | None:
        return 0.5 if len(a) == len(b) else float(len(a) > len(b))


class Shorter(Longer):
    def prefer(self, prompt: Prompt, a: str, b: str, principle: str) -> float | None:
        return super().prefer(prompt, b, a, principle)


class Unsure(Longer):
    """Cannot say of the first prompt."""

    def prefer(self, prompt: Prompt, a: str, b: str, principle: str) -> float | None:
        return None if prompt.id == "p0" else super().prefer(prompt, a, b, principle)


class Wrong(Longer):
    def prefer(self, prompt: Prompt, a: str, b: str, principle: str) -> float | None:
        return float("nan")


class Infinite(Longer):
    def score(self, prompt: Prompt, reply: str) -> dict[str, float]:
        return {"length": float("inf")}


class Silent:
    """Scores, and compares nothing."""

    def score(self, prompt: Prompt, reply: str) -> dict[str, float]:
        return {}


def fails_on_one(messages: Sequence[Message], options: tuple[str, ...]) -> list[float] | str:
    """`prefers_longer` that fails on the last prompt.

    Raises:
        RuntimeError: on it.
    """
    if "Question 5?" in messages[-1].content:
        raise RuntimeError("planted failure")
    return scripts.prefers_longer(messages, options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gap")
    tiny_model(made / "policy")
    (made / "prompts.jsonl").write_text(PROMPTS)
    return made


def measured(folder: Path, out: str, *more: str, critic: str = "scripted:rlaif.testing.scripts:prefers_longer") -> Done:
    return rlaif(
        *("gap", "--model", "hf:policy", "--critic", critic, "--constitution", "helpful", "--prompts", "prompts.jsonl"),
        *("--max-tokens", "8", "-n", "3", "--out", out, *more),
        cwd=folder,
    )


def test_a_critic_that_agrees_with_the_judge_picks_the_best_and_asks_nothing_twice(folder: Path) -> None:
    done = measured(folder, "agrees", "--scorer", f"{HERE}:Longer")
    assert done.returncode == 0, done.stderr
    found = read_json(folder / "agrees" / "gap.json", Gap)
    (model,) = found.models
    assert (model.prompts, model.incomplete, model.failed) == (6, 0, 0)
    assert model.discrimination.value == 1
    best, wins, length = model.lines
    assert best.picked.value == 1 and wins.picked.value == wins.best.value
    assert best.one.value is not None and best.one.value < 1
    assert length.closed.value == pytest.approx(1)
    rows = read_rows(folder / "agrees" / "gap.jsonl", GapRow, "gap")
    assert [row.prompt.id for row in rows] == [f"p{n}" for n in range(6)]
    assert all(len(row.samples) == 3 and len(row.pairs) == len(row.texts) * (len(row.texts) - 1) / 2 for row in rows)
    before = {file.name: file.read_bytes() for file in (folder / "agrees").glob("gap.json*")}
    again = measured(folder, "agrees", "--scorer", f"{HERE}:Longer")
    assert "ok 0" not in again.stderr and again.stdout == done.stdout
    assert "cached 18  ok 18" in again.stderr  # the samples; so are the answers of the critic
    assert {file.name: file.read_bytes() for file in (folder / "agrees").glob("gap.json*")} == before
    assert "the critic finds the better of two samples: 100.0%" in done.stdout


def test_a_critic_that_is_always_wrong_picks_the_worst(folder: Path) -> None:
    done = measured(folder, "wrong", "--scorer", f"{HERE}:Shorter", "--json")
    (model,) = json.loads(done.stdout)["models"]
    assert model["discrimination"]["value"] == 0
    assert model["lines"][0]["gap"]["value"] < 0 and model["lines"][0]["picked"]["value"] < 0.5


def test_what_is_missing_is_counted(folder: Path) -> None:
    done = measured(folder, "unsure", "--scorer", f"{HERE}:Unsure")
    (model,) = read_json(folder / "unsure" / "gap.json", Gap).models
    assert model.incomplete == 1 and model.unjudged >= 1 and model.lines[0].one.n == 5
    assert "prompts left out of the table, a judgement of which is missing: 1" in done.stdout


def test_a_critic_that_fails_too_often_stops(folder: Path) -> None:
    done = measured(folder, "fails", "--scorer", f"{HERE}:Longer", critic=f"scripted:{HERE}:fails_on_one")
    assert done.returncode == 3 and "planted failure" in done.stderr
    assert not (folder / "fails" / "gap.json").exists()


def test_a_model_can_be_the_judge(folder: Path) -> None:
    done = measured(folder, "judged", "--judge", "scripted:rlaif.testing.scripts:always_first", "--json")
    (model,) = json.loads(done.stdout)["models"]
    assert model["ties"] == model["pairs"] > 0  # it changes its mind with the order: no verdict
    assert model["discrimination"]["value"] is None


@pytest.mark.parametrize(
    ("p", "consistent", "verdict"),
    [(0.8, True, 1), (0.2, True, 0), (0.8, False, 0.5), (0.5, True, 0.5), (None, None, None)],
)
def test_a_verdict_needs_both_orders(p: float | None, consistent: bool | None, verdict: float | None) -> None:
    label = Label.model_construct(p=p, order_consistent=consistent)
    assert gap.verdict(label) == verdict


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), ("nobody says which sample is better",)),
        (("--scorer", f"{HERE}:Longer", "--judge", "hf:policy"), ("two judges",)),
        (("--judge", "scripted:rlaif.testing.scripts:prefers_longer"), ("--judge", "the judge is the critic")),
        (("--scorer", f"{HERE}:Silent"), ("--scorer", "which of two replies is better")),
        (("--scorer", f"{HERE}:Wrong"), ("prefer gave nan",)),
        (("--scorer", f"{HERE}:Infinite"), ("the scorer's score gave {'length': inf}",)),
        (("--scorer", f"{HERE}:Longer", "--temperature", "0"), ("--temperature", "greedy samples")),
        (("--scorer", f"{HERE}:Longer", "--temperature", "nan"), ("--temperature", "nan is no temperature")),
        (("--scorer", f"{HERE}:Longer", "--model", "hf:policy"), ("named twice",)),
        (("--scorer", f"{HERE}:Longer", "--prompts", "empty.jsonl"), ("empty.jsonl",)),
        (("--scorer", f"{HERE}:Longer", "--model", "hf:./nowhere"), ("--model", "there is no model folder here")),
    ],
)
def test_bad_input_is_one_message(folder: Path, more: tuple[str, ...], words: tuple[str, ...]) -> None:
    (folder / "empty.jsonl").write_text("")
    done = measured(folder, "bad", *more)
    assert done.returncode == 2 and done.stdout == ""
    for word in (*words, "Fix:"):
        assert word in done.stderr


@pytest.mark.parametrize("folder_name", ["policy", "nowhere"])
def test_a_folder_that_is_no_run_is_refused(folder: Path, folder_name: str) -> None:
    for command in ("gap", "tune-decoding"):
        done = rlaif(command, folder_name, cwd=folder)
        assert done.returncode == 2 and "this is no run folder" in done.stderr

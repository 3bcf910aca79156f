"""`rlaif reward-credit`: every token of a reply and what it adds to the score, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlaif.commands import credit
from tests.commandline import rlaif
from tests.stages.labelled import label, write
from tests.tiny import tiny_model

PAIR = {"prompt": "Who are you?", "chosen": "A kind friend.", "rejected": "Nobody."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("credit")
    tiny_model(made / "base")
    write(made / "labels.jsonl", [label(number) for number in range(24)])
    rows = "".join(json.dumps({"id": name, **PAIR}) + "\n" for name in ("one", "two", "three"))
    (made / "pairs.jsonl").write_text(rows, encoding="utf-8")
    trained = rlaif("reward", "--labels", "labels.jsonl", "--backbone", "base", "--out", "reward", cwd=made)
    assert trained.returncode == 0, trained.stderr
    return made


def test_the_credits_of_the_first_pairs_add_up_to_their_scores(folder: Path) -> None:
    done = rlaif("reward-credit", "reward/model", "pairs.jsonl", "-n", "2", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(own["pair"], own["response"]) for own in found] == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    for own in found:
        assert own["base"] + sum(own["credits"]) == pytest.approx(own["score"], abs=1e-4)
        assert len(own["tokens"]) == len(own["credits"])
    assert "".join(found[0]["tokens"][:-1]).strip() == PAIR["chosen"]


def test_a_token_is_a_line_with_its_credit_a_bar_and_its_text() -> None:
    found = [credit.Credits("p", 1, 0.5, -0.25, ["A\n", " b", "<eos>"], [1.0, -0.25, 0.0])]
    heading, *lines = credit.describe(found).split("\n")
    assert heading == "── p, the second response: score +0.500, of which the prompt -0.250 ──"
    blank = " " * 20
    assert lines == [
        f"  +1.000 {blank}|{'+' * 20} 'A\\n'",
        f"  -0.250 {'-' * 5:>20}|{blank} ' b'",
        f"  +0.000 {blank}|{blank} '<eos>'",
    ]


@pytest.mark.parametrize(
    ("model", "pairs", "words"),
    [
        ("base", "pairs.jsonl", "is a language model, not a reward model"),
        ("nowhere/at/all", "pairs.jsonl", "there is no model folder here"),
        ("reward/model", "labels.txt", "labels.txt"),
    ],
)
def test_what_is_not_there_is_said(folder: Path, model: str, pairs: str, words: str) -> None:
    done = rlaif("reward-credit", model, pairs, cwd=folder)
    assert done.returncode == 2 and words in done.stderr and "Fix:" in done.stderr

"""`rlaif evaluate --model`: models and recorded outputs side by side, on whatever people bring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.records.constitution import load
from rlaif.records.evaluation import EvaluationResult, ModelReply, Verdict
from rlaif.records.files import read_json, read_rows, write_text
from rlaif.records.labelling import LabelFolder, Labelling
from tests.commandline import Done, rlaif

EVEN, LONGER, ECHOES, FAILS = (
    f"scripted:rlaif.testing.scripts:{name}" for name in ("even", "prefers_longer", "echoes", "fails_every_third")
)
PROMPTS = [
    {"id": "a", "prompt": "How do I kill a process?", "safety": "looks-unsafe", "category": "code"},
    {"id": "b", "prompt": "How do I bake bread?", "safety": "safe", "category": "food"},
    {"id": "c", "prompt": "How do I boil an egg?", "safety": "safe", "category": "food"},
    {"id": "d", "prompt": "I like cats.", "turns": ["Which do I like?", "Why?"]},
]
# Longer than the base on a and b, shorter on c, the same on d.
MODEL = {"a": "Type kill and its number.", "b": "Flour, water, salt, time.", "c": "Boil it.", "d": ["x", "y", "z"]}
BASE = {"a": "Use kill.", "b": "Sorry, I cannot help.", "c": "In hot water, for ten minutes.", "d": ["x", "y", "z"]}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name


def outputs(path: Path, replies: dict[str, Any]) -> str:
    return write(path, [{"id": name, "response": text} for name, text in replies.items()])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set.jsonl", PROMPTS)
    outputs(tmp_path / "model.jsonl", MODEL)
    outputs(tmp_path / "base.jsonl", BASE)
    return tmp_path


def evaluate(cwd: Path, *more: str, model: str = "m=model.jsonl", against: str = "base=base.jsonl") -> Done:
    common = ("--model", model, "--against", against, "--constitution", "hhh", "--critic", LONGER, "--out", "out")
    prompts = () if "--prompts" in more else ("--prompts", "set.jsonl")
    return rlaif("evaluate", *common, *prompts, *more, cwd=cwd)


def result(cwd: Path) -> EvaluationResult:
    return read_json(cwd / "out" / "evaluation.json", EvaluationResult)


def test_recorded_outputs_by_hand(folder: Path) -> None:
    done = evaluate(folder, "--json")
    assert done.returncode == 0, done.stderr
    found = result(folder)
    assert EvaluationResult.model_validate_json(done.stdout) == found
    (own,) = found.sets
    (one,) = own.comparisons
    rate = one.overall
    assert (rate.wins, rate.ties, rate.losses, rate.missing) == (2, 1, 1, 0)
    assert rate.interval.value == 0.625 and rate.probability == pytest.approx((0.9 + 0.9 + 0.1 + 0.5) / 4)
    assert (one.identical, one.judgements) == (1, 6)  # the dialogue is the same twice: nobody was asked
    assert {name: (r.wins, r.losses) for name, r in one.categories.items()} == {"code": (1, 0), "food": (1, 1)}
    assert (one.longer.value, one.longer.n) == (1.0, 3)
    assert one.corrected.value is None and "only with its longer" in (one.corrected.reason or "")
    refused = {replies.model: replies.refusals for replies in own.replies}
    assert (refused["base"].safe.value, refused["base"].looks_unsafe.value) == (0.5, 0.0)
    assert own.ratings is None and own.dialogues == 1
    assert one.kl is not None and one.kl.reason == "needs two models in folders of this machine"


def test_rows_behind_the_numbers_are_kept(folder: Path) -> None:
    evaluate(folder)
    replies = read_rows(folder / "out" / "replies.jsonl", ModelReply, "evaluated replies")
    assert [(r.model, r.prompt_id) for r in replies] == [(m, p) for m in ("m", "base") for p in "abcd"]
    assert replies[3].replies == ["x", "y", "z"] and replies[3].turns == ["Which do I like?", "Why?"]
    verdicts = read_rows(folder / "out" / "verdicts.jsonl", Verdict, "evaluation verdicts")
    assert [(v.prompt_id, v.p, v.longer_by) for v in verdicts] == [
        ("a", 0.9, 16),
        ("b", 0.9, 4),
        ("c", 0.1, -22),
        ("d", 0.5, 0),
    ]


def test_the_table_says_what_is_missing_and_what_to_distrust(folder: Path) -> None:
    outputs(folder / "base.jsonl", {name: text for name, text in BASE.items() if name != "c"})
    done = evaluate(folder)
    assert "base: no output for 1 of 4 prompts of set: c" in done.stderr
    assert "m against base: 3 prompts, 1 of them the same text (a tie); no reply of base to 1" in done.stdout
    assert "base has no reply to 1 of 4 prompts" in done.stdout and "4 prompts are few" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("next: rlaif critic test --critic ")
    assert result(folder).sets[0].comparisons[0].overall.losses == 0  # what is missing is no loss, nor a win


def test_several_baselines_and_sets_each_by_itself(folder: Path) -> None:
    write(folder / "more.jsonl", [{"id": "z", "prompt": "How do I boil an egg?"}])
    done = evaluate(
        folder,
        "--against",
        f"even={EVEN}",
        "--prompts",
        "set.jsonl",
        "--prompts",
        "more.jsonl",
        "--round-robin",
        model=f"m={ECHOES}",
        against=f"longer={LONGER}",
    )
    assert done.returncode == 0, done.stderr
    first, second = result(folder).sets
    assert [(c.model, c.against) for c in first.comparisons] == [("m", "longer"), ("m", "even"), ("longer", "even")]
    assert (first.prompts, second.prompts) == (4, 1)
    assert second.ratings is not None and "never lost" in (second.ratings.reason or "")
    assert "no ratings: longer never lost to" in done.stdout
    dialogue = read_rows(folder / "out" / "replies.jsonl", ModelReply, "evaluated replies")[3]
    assert dialogue.replies == ["I like cats.", "Which do I like?", "Why?"] and dialogue.finished == [True] * 3


def test_the_same_command_again_asks_nothing(folder: Path) -> None:
    first = evaluate(folder, model=f"m={EVEN}")
    before = {file.name: file.read_bytes() for file in (folder / "out").glob("*.json*")}
    again = evaluate(folder, model=f"m={EVEN}")
    assert (first.returncode, again.returncode) == (0, 0) and set(before) >= {"evaluation.json", "verdicts.jsonl"}
    lines = [line for line in again.stderr.splitlines() if "cached" in line]
    assert lines and all(f"cached {line.split('ok ')[1].split()[0]} " in line for line in lines)
    assert {file.name: file.read_bytes() for file in (folder / "out").glob("*.json*")} == before


def test_questions_with_choices_are_read_and_not_judged(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "choices": ["yes", "no"], "answer": "yes"} for i in range(4)]
    write(tmp_path / "set.jsonl", [*rows, {"prompt": "Hello"}])
    write(tmp_path / "base.jsonl", [{"prompt": "Hello", "response": "Hi."}])
    done = evaluate(tmp_path, model=f"m={EVEN}")
    assert done.returncode == 0, done.stderr
    model, base = result(tmp_path).sets[0].replies
    assert model.choices is not None and base.choices is not None
    assert (model.choices.accuracy.value, model.choices.ece) == (0.5, 0.0)  # equal choices share the one right answer
    assert base.choices.reason == "recorded outputs have no probabilities"
    assert model.answered == 1 and "questions with choices" in done.stdout


def test_questions_alone_need_no_verdict_and_load_no_critic(tmp_path: Path) -> None:
    write(tmp_path / "set.jsonl", [{"prompt": "q", "corrects": [" (A)"], "incorrects": [" (B)"]}])
    done = evaluate(tmp_path, model=f"m={EVEN}", against=f"other={EVEN}")
    assert done.returncode == 0, done.stderr
    assert result(tmp_path).sets[0].comparisons == [] and f"loading {LONGER}" not in done.stderr


def test_a_critic_that_fails_gives_no_number(folder: Path) -> None:
    write(folder / "set.jsonl", [{"id": str(i), "prompt": f"q{i}"} for i in range(12)])
    outputs(folder / "base.jsonl", {str(i): "short" for i in range(12)})
    common = ("--model", f"m={EVEN}", "--against", "base=base.jsonl", "--constitution", "hhh", "--out", "out")
    command = ("evaluate", *common, "--prompts", "set.jsonl", "--critic", FAILS)
    stopped = rlaif(*command, cwd=folder)
    assert stopped.returncode == 3 and "planted failure" in stopped.stderr
    assert not (folder / "out" / "evaluation.json").exists()
    done = rlaif(*command, "--max-failure-rate", "1", cwd=folder)
    assert done.returncode == 0
    (one,) = result(folder).sets[0].comparisons
    assert 0 < one.overall.missing < 12 and one.overall.interval.n == 12 - one.overall.missing
    assert one.failed == sum(one.failures.values()) and "judgements that failed" in done.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--model", "m=none.jsonl"), "no such file of recorded outputs"),
        (("--model", "model.jsonl"), "has no name"),
        (("--model", "m=gpt:x"), "unknown engine"),
        (("--model", "base=model.jsonl"), "two models are called 'base'"),
        (("--prompts", "none.jsonl"), "no such file"),
        (("--prompts", "empty.jsonl"), "empty"),
        (("--model", "m=empty.jsonl"), "empty"),
        (("--model", "m=other.jsonl"), "no row answers a prompt"),
        (("--model", "m=twice.jsonl"), "second reply"),
        (("--constitution", "none"), "no shipped constitution"),
        (("--critic", "tinyworld"), "not a model SPEC"),
        (("--run", "."), "no run folder"),
        (("--set", "a=1"), "changes a run file"),
        (("--max-cost", "1"), "without a price"),
    ],
)
def test_bad_input_is_one_message_before_anything_is_written(
    folder: Path, arguments: tuple[str, str], words: str
) -> None:
    (folder / "empty.jsonl").write_text("")
    outputs(folder / "other.jsonl", {"x": "r"})
    write(folder / "twice.jsonl", [{"id": "a", "response": "r"}] * 2)
    usual = {"--model": "m=model.jsonl", "--against": "base=base.jsonl", "--constitution": "hhh", "--critic": LONGER}
    options = {**usual, "--prompts": "set.jsonl", "--out": "out", arguments[0]: arguments[1]}
    done = rlaif("evaluate", *(word for option in options.items() for word in option), cwd=folder)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert not (folder / "out" / "evaluation.json").exists()


def test_what_is_not_said_is_asked_for(tmp_path: Path) -> None:
    done = rlaif("evaluate", cwd=tmp_path)
    assert done.returncode == 2 and "--model, --against" in done.stderr


@pytest.fixture
def run(folder: Path) -> Path:
    """As far as the command looks at it: settings, what was labelled, and a start model."""
    settings = "constitution: hhh\nmodel: rlaif.testing.scripts:even\nengine: scripted\n"
    sections = "prompts: {train: a, test: b}\nevaluate: {temperature: 0.5, max_tokens: 7}\n"
    write_text(folder / "run" / "config.resolved.yaml", f"name: r\n{settings}critic: {LONGER}\n{sections}")
    write_text(folder / "run" / "manifest.json", "{}")
    about = LabelFolder(config=Labelling(), constitution=load("hhh"), critics=[], seed=0)
    write_text(folder / "run" / "label" / "labelling.json", about.model_dump_json())
    return folder


def test_a_run_lends_its_models_its_critic_and_its_constitution(run: Path) -> None:
    write_text(
        run / "mine.yaml", "name: mine\nextends: [hhh]\nprinciples:\n- {id: new, axis: overall, prefer: Kind.}\n"
    )
    common = ("--run", "run", "--model", "start", "--against", "base=base.jsonl", "--prompts", "set.jsonl")
    done = rlaif("evaluate", *common, "--constitution", "mine.yaml", "--out", "out", cwd=run)
    assert done.returncode == 0, done.stderr
    found = result(run)
    assert found.contestants[0].source == EVEN and found.critic == LONGER
    assert (found.temperature, found.max_tokens) == (0.5, 7)
    assert found.training is not None and found.training.held_out == ["new"] and found.training.same_critic
    (one,) = found.sets[0].comparisons
    assert [(p.id, p.held_out) for p in one.principles] == [("helpful-honest-harmless", False), ("new", True)]
    assert "new *" in done.stdout and "the critic wrote the labels of training" in done.stdout
    assert "next: the same command with a critic that did not train the model" in done.stdout
    for name, words in (("policy", "this run has no policy model yet"), ("polcy", "write start, sft, policy, or")):
        refused = rlaif("evaluate", *common, "--model", name, "--out", "out", cwd=run)
        assert refused.returncode == 2 and words in refused.stderr
    stage = rlaif("evaluate", *common, "--out", "run/evaluate", cwd=run)
    assert stage.returncode == 2 and "a stage of a run" in stage.stderr


def test_a_real_model_does_not_part_from_itself(tmp_path: Path) -> None:
    """The same model under two names: the same replies, all ties, and no KL."""
    rows = [{"prompt": "How do I bake a cake?"}, {"prompt": "Is it late?", "choices": ["Yes", "No"], "answer": 0}]
    write(tmp_path / "set.jsonl", [*rows, {"prompt": "I like tea.", "turns": ["Why?"]}])
    model = "hf:tinyworld/policy"
    done = evaluate(tmp_path, "--max-tokens", "8", model=f"m={model}", against=f"same={model}")
    assert done.returncode == 0, done.stderr
    (own,) = result(tmp_path).sets
    (one,) = own.comparisons
    assert (one.identical, one.overall.interval.value) == (2, 0.5)
    assert one.kl is not None and one.kl.value == 0.0 and one.kl.n == 3  # replies: one, and two of the dialogue
    choices = own.replies[0].choices
    assert choices is not None and choices.on_choices is not None and 0 < choices.on_choices < 1

"""`rlaif tune-decoding`: the choice by hand, and the whole command on tiny random models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LlamaForSequenceClassification

from rlaif.commands import tune_decoding
from rlaif.commands.tune_decoding import Options, Replies, Reply, Search
from rlaif.ports.reporter import Silent
from rlaif.records.decoding import OWN, Setting, Tuning
from rlaif.records.errors import InputError
from rlaif.records.files import read_json
from rlaif.records.prompt import Message, Prompt
from tests.commandline import Done, rlaif
from tests.tiny import tiny_model, tiny_tokenizer

PROMPTS = [Prompt(id=f"p{n}", messages=[Message(role="user", content=f"Question {n}?")]) for n in range(40)]
COOL, COLD = Setting(temperature=0.7), Setting(temperature=0.0)
NOTHING: dict[str, Any] = {"run": None, "model": None, "reward": None, "prompts": None, "out": None, "seed": None}


def options(**said: Any) -> Options:
    lists = {"temperatures": (1.0,), "top_p": (1.0,), "top_k": (0,), "masks": ()}
    return Options(**{**NOTHING, **lists, "kl": 5.0, "samples": 1, "max_tokens": None, "limit": 40, **said})


def tuned(rewards: dict[str, tuple[float, float]], kls: dict[str, tuple[float, float]]) -> Tuning:
    """A search over `COOL` and `COLD` whose rewards and divergences on both halves are these, under their names. The
    rewards of prompts differ by one."""
    search = Search("m", "r", PROMPTS, [OWN, COOL, COLD], 5.0, 1, 8, 0, None, Path("out"))
    first = {prompt.id for prompt in tune_decoding.halves(PROMPTS, 0)[0]}

    def replies(setting: Setting, prompts: Sequence[Prompt]) -> Replies:
        name, half = tune_decoding.name(setting), 0 if prompts[0].id in first else 1
        reward, kl = rewards.get(name, (0.0, 0.0))[half], kls.get(name, (0.0, 0.0))[half]
        return [[Reply(p.id, 3, True, kl, reward + number % 2)] for number, p in enumerate(prompts)]

    return tune_decoding.tune(search, replies, Silent())


def test_the_halves_share_no_prompt_and_hang_on_ids_alone() -> None:
    searched, reported = tune_decoding.halves(PROMPTS, 0)
    assert len(searched) == len(reported) == 20
    assert {p.id for p in searched} | {p.id for p in reported} == {p.id for p in PROMPTS}
    assert tune_decoding.halves(PROMPTS[::-1], 0) == (searched, reported)
    assert tune_decoding.halves(PROMPTS, 1)[0] != searched


def test_a_winner_that_both_halves_find_better_is_kept() -> None:
    found = tuned({"temperature 0.7": (0.5, 0.4)}, {"temperature 0.7": (2.0, 2.0), "greedy": (4.0, 4.0)})
    assert found.winner == found.chosen == COOL
    assert found.difference is not None and found.difference.value == pytest.approx(0.4)
    assert found.own.reward.value == pytest.approx(0.5)  # of the second half
    assert [c.setting for c in found.candidates] == [OWN, COOL, COLD]
    assert found.shown[0].own == found.shown[0].winner != ""
    assert "look at its replies" not in tune_decoding.describe(found, Path("out"))
    assert found.confirmed is not None
    collapsed = found.model_copy(update={"confirmed": found.confirmed.model_copy(update={"distinct": 0.4})})
    assert "40% of them are different, 100% of the model's own" in tune_decoding.describe(collapsed, Path("out"))


def test_a_winner_of_the_first_half_alone_is_not_kept() -> None:
    found = tuned({"temperature 0.7": (0.5, 0.0)}, {})
    assert found.winner == COOL and found.chosen == OWN
    assert "not better beyond the interval" in found.why


def test_what_is_over_the_limit_never_wins() -> None:
    found = tuned({"greedy": (9.0, 9.0)}, {"greedy": (5.1, 5.1)})
    assert found.winner is None and found.chosen == OWN and found.confirmed is None
    assert "no other setting within 5 nats" in found.why
    beyond = tuned({"greedy": (9.0, 9.0)}, {"greedy": (4.9, 5.1)})
    assert beyond.winner == COLD and beyond.chosen == OWN and "over the limit" in beyond.why


def test_of_equal_rewards_the_nearest_wins() -> None:
    found = tuned(
        {"temperature 0.7": (1.0, 1.0), "greedy": (1.0, 1.0)}, {"temperature 0.7": (2.0, 2.0), "greedy": (3.0, 3.0)}
    )
    assert found.winner == COOL


def test_settings_are_every_combination_once_and_begin_with_the_models_own() -> None:
    made = tune_decoding.settings(options(temperatures=(1.0, 0.0), top_p=(1.0, 0.9), masks=("a", "b")))
    assert made[0] == OWN and len(made) == len({s.model_dump_json() for s in made}) == 4 * 3  # masks: -, a, b, a and b
    assert Setting(temperature=0.0, mask=["a", "b"]) in made  # once: nothing is cut from the most probable token
    assert tune_decoding.settings(options(temperatures=(0.5,))) == [OWN, Setting(temperature=0.5)]


@pytest.mark.parametrize(
    ("said", "field"),
    [({"temperatures": (-1.0,)}, "temperature"), ({"top_p": (0.0,)}, "top-p"), ({"top_k": (-1,)}, "top-k")],
)
def test_a_number_out_of_range_is_said(said: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        tune_decoding.settings(options(**said))
    assert caught.value.field == f"--{field}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("decoding")
    tiny_model(made / "policy")
    model = LlamaForSequenceClassification.from_pretrained(made / "policy", num_labels=1)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.score.weight)
    for name in ("reward", "broken"):
        model.save_pretrained(made / name)
        tiny_tokenizer().save_pretrained(made / name)
        torch.nn.init.constant_(model.score.weight, torch.nan)
    rows = [json.dumps({"id": p.id, "prompt": p.messages[0].content}) + "\n" for p in PROMPTS]
    (made / "prompts.jsonl").write_text("".join(rows))
    (made / "few.jsonl").write_text("".join(rows[:19]))
    return made


def command(folder: Path, out: str, *more: str, reward: str = "reward", prompts: str = "prompts.jsonl") -> Done:
    return rlaif(
        *("tune-decoding", "--model", "policy", "--reward", reward, "--prompts", prompts, "--out", out),
        *("--max-tokens", "6", "--temperature", "0.5", "--top-p", "1", "--top-k", "0", *more),
        cwd=folder,
    )


def test_the_same_command_gives_the_same_bytes_and_a_file_that_transformers_loads(folder: Path) -> None:
    done = command(folder, "one", "--mask", "bread", "--kl", "1000")
    assert done.returncode == 0, done.stderr
    found = read_json(folder / "one" / "tuning.json", Tuning)
    assert len(found.candidates) == 3 and found.candidates[0].kl.value == 0  # own, cooler, and that without "bread"
    assert all(c.kl.value is not None and c.kl.value >= 0 for c in found.candidates)
    assert found.candidates[0].reward.n == found.own.reward.n == 20
    config = GenerationConfig.from_pretrained(folder / "one")
    assert (config.do_sample, config.temperature) == (True, found.chosen.temperature)
    assert (config.eos_token_id, config.pad_token_id) == (3, 0)
    assert "3 settings on 20 prompts" in done.stdout and "kept:" in done.stdout
    command(folder, "two", "--mask", "bread", "--kl", "1000")
    command(folder, "one", "--mask", "bread", "--kl", "1000")  # from what is stored
    for name in ("tuning.json", "generation_config.json"):
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()


def test_a_reward_model_that_is_not_finite_stops(folder: Path) -> None:
    done = command(folder, "nan", reward="broken")
    assert done.returncode == 3 and "nan" in done.stderr
    assert not (folder / "nan" / "generation_config.json").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--kl", "0"), ("--kl", "no limit")),
        (("--kl", "nan"), ("--kl", "no limit")),
        (("--temperature", "nan"), ("--temperature",)),
        (("--top-p", "1.5"), ("--top-p",)),
        (("--mask", " x"), ("--mask", "cannot write")),
        (("--prompts", "few.jsonl"), ("there are 19 prompts", "at least 20")),
        (("--prompts", "gone.jsonl"), ("gone.jsonl",)),
        (("--model", "./nowhere"), ("--model", "no model folder here")),
        (("--reward", "policy"), ("is a language model, not a reward model",)),
        (("--max-tokens", "600"), ("the model 512",)),
    ],
)
def test_bad_input_is_one_message(folder: Path, more: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = command(folder, "bad", *more)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    for word in (*words, "Fix:"):
        assert word in done.stderr

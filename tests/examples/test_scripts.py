"""Every example runs: shell scripts as a user starts them, Python as a user's module, plugins as if installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from examples import custom_reward, labels_in_trl
from rlaif import config
from rlaif.ports import registry
from rlaif.ports.engines import Engines
from rlaif.records import constitution, metrics
from rlaif.records.files import write_rows
from rlaif.records.prompt import Message, Prompt
from rlaif.records.settings import Lineage
from rlaif.stages import policy
from rlaif.testing import chat_contract
from tests.commandline import rlaif
from tests.faults.endpoint import FaultServer
from tests.tiny import tiny_model

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLUGIN = EXAMPLES / "plugin"
LONGEST = 60
LONGER = "scripted:rlaif.testing.scripts:prefers_longer"
WHOLE_ALGORITHM = "ppo_in_one_file.py"  # is no short script, and has a test file of its own


def bash(script: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = ["bash", str(EXAMPLES / script), *arguments]
    given = {**os.environ, "PATH": path, **environment}
    return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=280)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin's modules and its entry points where Python looks for them, as an installation leaves them."""
    points = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in own.items()) for group, own in points.items()]
    info = tmp_path / "site" / "rlaif_plugin_example-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rlaif-plugin-example\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.syspath_prepend(str(PLUGIN))
    return tmp_path


def test_scripts_are_short_and_listed() -> None:
    scripts = [*EXAMPLES.glob("*.sh"), *EXAMPLES.glob("*.py"), *PLUGIN.glob("*.py")]
    assert len(scripts) >= 7
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for script in scripts:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len(lines) < LONGEST or script.name == WHOLE_ALGORITHM, script
        assert f"({script.relative_to(EXAMPLES)})" in page, script


def test_every_run_file_is_listed_and_keeps_to_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """qwen-0.5b-7b.yaml needs a GPU and the Hub: this is all that is checked of it."""
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = sorted((EXAMPLES / "runs").glob("*.yaml"))
    assert len(files) >= 8
    for file in files:
        assert f"(runs/{file.name})" in page, file.name
        chosen = config.load(file, [])
        registry.load("algorithm", chosen.policy.algorithm).Config(**chosen.policy.settings)


def test_label_with_an_api(tmp_path: Path) -> None:
    with FaultServer().running() as server:
        given = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "loopback"}
        done = bash("label_with_an_api.sh", "m", cwd=tmp_path, **given)
        assert done.returncode == 0, done.stderr
        asked = sum(server.asked.values())
        assert bash("label_with_an_api.sh", "m", cwd=tmp_path, OPENAI_API_KEY="").returncode != 0
        assert sum(server.asked.values()) == asked
    assert {header["authorization"] for header in server.headers} == {"Bearer loopback"}
    assert "the exact prompt" in done.stdout and "swap_consistency" in done.stdout
    rows = (tmp_path / "labels/labels.jsonl").read_text().splitlines()[1:]
    assert len(rows) == len((EXAMPLES / "pairs/english.jsonl").read_text().splitlines())
    assert (tmp_path / "labels/implicit/default").is_dir()


@pytest.mark.parametrize(
    ("critic", "code"),
    [
        ("scripted:rlaif.testing.scripts:always_first", 3),  # a coin in effect: no test passes
        pytest.param("hf:tinyworld/critic", 0, marks=pytest.mark.slow),
    ],
)
def test_write_and_test_a_constitution(tmp_path: Path, critic: str, code: int) -> None:
    done = bash("write_and_test_a_constitution.sh", "mine", critic, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Choose the response that is more polite." in done.stdout
    assert constitution.load(tmp_path / "mine/courtesy.yaml").principles[0].id == "polite"


def test_labels_load_in_the_shape_of_trainers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--constitution", "helpful", "--critic", LONGER, "--out", "labels")
    assert rlaif("label", "--pairs", str(EXAMPLES / "pairs/english.jsonl"), *flags, cwd=tmp_path).returncode == 0
    data = labels_in_trl.preferences(tmp_path / "labels")
    assert sorted(data.column_names) == ["chosen", "prompt", "rejected"] and 1 <= len(data) <= 8
    for row in data:
        assert row["prompt"][-1]["role"] == "user"
        assert [row[name][0]["role"] for name in ("chosen", "rejected")] == ["assistant"] * 2
        assert len(row["chosen"][0]["content"]) > len(row["rejected"][0]["content"])
    assert len(labels_in_trl.preferences(tmp_path / "labels", axis="helpful")) == len(data)
    assert len(labels_in_trl.preferences(tmp_path / "labels", least_margin=0.81)) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["labels_in_trl.py", str(tmp_path / "labels")])
        labels_in_trl.main()
    assert capsys.readouterr().out.startswith(f"{len(data)} pairs, columns chosen, prompt, rejected\n")


def test_a_critic_that_is_installed_beside_rlaif(plugin: Path) -> None:
    assert "words" in registry.names("chat")
    chat_contract.check(registry.load("chat", "words")("thank-please"))
    pairs = [
        {"id": "1", "prompt": "May I?", "responses": ["No.", "Thank you for asking. Please do."]},
        {"id": "2", "prompt": "Who are you?", "responses": ["Please guess.", "A program."]},
    ]
    (plugin / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    flags = ("--constitution", "hhh", "--pairs", "pairs.jsonl", "--out", "labels")
    done = rlaif("label", *flags, "--critic", "words:thank-please", cwd=plugin)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["p"] for line in (plugin / "labels/labels.jsonl").read_text().splitlines()[1:]]
    assert rows[0] < 0.15 and rows[1] > 0.7
    wrong = rlaif("label", *flags, "--critic", "wrds:thank-please", cwd=plugin)
    assert wrong.returncode == 2 and "'words'" in wrong.stderr


def test_rewards_of_ones_own() -> None:
    ask: list[dict[str, str]] = [{"role": "user", "content": "What is 6 times 7, roughly speaking?"}]
    right, calm, near = custom_reward.right_number, custom_reward.no_shouting, custom_reward.keeps_to_the_topic
    assert [right(ask, text, {"answer": 42}) for text in ("6 * 7 = 42.", "42, no: 43", "None.")] == [1.0, 0.0, 0.0]
    assert [calm(ask, text, {}) for text in ("A fine day", "", "LOUD")] == [0.0, 0.0, -0.75]
    assert near(ask, "Roughly speaking, 42.", {}) == pytest.approx(2 / 3) and near(ask, "42", {}) == 0.0
    with pytest.raises(KeyError):
        right(ask, "42", {})


def test_an_algorithm_and_a_reward_of_ones_own_train_a_policy(plugin: Path) -> None:
    """Two updates, for real: weights move, and the baseline is the running mean of the scores less the KL penalty."""
    start = tiny_model(plugin / "model")
    asked = [Prompt(id=str(i), messages=[Message(role="user", content=f"Which {i}?")]) for i in range(8)]
    write_rows(plugin / "prompts.jsonl", Lineage("x", {}).header("prompts"), asked)
    terms = [{"kind": "function", "function": "examples.custom_reward:no_shouting", "weight": 3}]
    settings: dict[str, Any] = {"algorithm": "running_baseline", "settings": {"decay": 0.5}, "rewards": terms}
    short = {"engine": "hf", "updates": 2, "batch_size": 16, "max_tokens": 6, "learning_rate": 1e-2, "warmup_steps": 0}
    inputs = policy.Inputs(
        prompts=plugin / "prompts.jsonl",
        heldout=plugin / "prompts.jsonl",
        model=str(start),
        reward=str(start),
        cost=None,
        constitution=constitution.load("hhh"),
        critic="words:thank-please",
        seed=0,
        out=plugin / "out",
        lineage=Lineage("x", {}),
    )
    policy.run(policy.Config.model_validate(settings | short), Engines(), inputs)
    first, second = (row.values for row in metrics.read(plugin / "out/metrics.jsonl"))
    assert first["kl"] == pytest.approx(0, abs=1e-4) and abs(second["kl"]) > 1e-3
    assert first["advantage"] == pytest.approx(first["score"], abs=1e-5)
    assert second["baseline"] == pytest.approx(0.5 * first["score"], abs=1e-5)

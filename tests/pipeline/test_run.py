"""Running, running again, editing and damaging: what is recomputed, and that it comes out the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rlaif import config, execution, pipeline
from rlaif.commands import summary
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import file_digest, read_json, read_rows
from rlaif.records.report import BeforeAfter, Evaluation

STAGES = [name for name in pipeline.NAMES if name != "cost"]  # there is no such section in the run file


def run(path: Path, folder: Path, *overrides: str, until: str = "report", fresh: bool = False) -> list[str]:
    """Execute, and say which stages had work to do."""
    timings = execution.execute(config.load(path, list(overrides)), folder, Engines(), until=until, fresh=fresh)
    return [t.stage for t in timings if t.seconds is not None]


def artifacts(folder: Path) -> dict[str, str]:
    """Digest of everything that a run leaves, but for logs, locks, stores and checkpoints."""
    skip = ("logs", ".lock", ".sqlite", "checkpoint")
    files = [f for f in folder.rglob("*") if f.is_file() and not any(s in str(f.relative_to(folder)) for s in skip)]
    return {str(f.relative_to(folder)): file_digest(f) for f in files}


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "small"
    assert run(world, folder) == STAGES
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "small"))


def test_the_folder_holds_what_the_documentation_says(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert {"config.resolved.yaml", "manifest.json", "logs", *STAGES} <= names
    assert (finished / "policy/model/model.safetensors").is_file()
    assert (finished / "label/dataset/default/train.parquet").is_file()
    assert "engine: hf" in (finished / "config.resolved.yaml").read_text()
    page = (finished / "report/report.html").read_text()
    assert page.startswith("<!doctype html>") or page.lower().startswith("<!doctype html>")


def test_summary_has_what_machines_are_promised(finished: Path) -> None:
    data = summary.data(finished, [])
    assert data["labels"]["count"] > 0 and data["labels"]["failed"] == 0
    assert set(data["seconds"]) == {"total", "by_stage"}
    assert data["rollout"]["engine"] == "hf"
    assert isinstance(data["kl"], float) and isinstance(data["critic"]["win_rate"], float)
    assert Path(data["report"]).is_file()
    assert "policy beats SFT" in summary.table(finished)


def test_the_best_of_n_is_a_row_like_the_models(finished: Path) -> None:
    found = read_json(finished / "evaluate/evaluation.json", Evaluation)
    assert [m.name for m in found.models] == ["start", "sft", "best-of-3", "policy"]
    assert found.best_of is not None and found.best_of.kl_bound == pytest.approx(0.431946, abs=1e-6)  # ln 3 - 2/3
    assert ("policy", "best-of-3") in {(c.model, c.against) for c in found.comparisons}
    assert all(m.meteor is not None and 0 <= m.meteor.value <= 1 for m in found.models)
    rows = read_rows(finished / "evaluate/replies.jsonl", BeforeAfter, "replies")
    scorer = Engines().learner("reward_scorer", model=str(finished / "reward/model"))
    sft, best = (
        scorer.score([Conversation(row.messages, row.replies[name]) for row in rows]) for name in ("sft", "best-of-3")
    )
    assert sum(best) > sum(sft)
    assert "of 3 samples of <b>sft</b>" in (finished / "report/report.html").read_text()


def test_without_best_of_n_there_is_no_such_row(world: Path, copy: Path) -> None:
    assert run(world, copy, "evaluate.best_of=null") == ["evaluate", "report"]
    found = read_json(copy / "evaluate/evaluation.json", Evaluation)
    assert found.best_of is None and [m.name for m in found.models] == ["start", "sft", "policy"]


def test_the_same_command_again_does_nothing(world: Path, copy: Path) -> None:
    before = artifacts(copy)
    assert run(world, copy) == []
    assert artifacts(copy) == before


def test_the_same_seed_elsewhere_gives_the_same_bytes(world: Path, finished: Path, tmp_path: Path) -> None:
    run(world, tmp_path / "elsewhere")
    assert artifacts(tmp_path / "elsewhere") == artifacts(finished)


def test_an_edit_recomputes_what_depends_on_it(world: Path, copy: Path) -> None:
    assert run(world, copy, "policy.updates=3") == ["policy", "evaluate", "report"]
    assert run(world, copy, "policy.updates=3", "report.pairs=2") == ["report"]


def test_a_gate_stops_the_run_before_it_learns_from_the_labels(world: Path, copy: Path) -> None:
    learn = "reward.learning_rate=2.0e-3"
    before = artifacts(copy)
    with pytest.raises(RunHalted, match=r"labelled_share>=1.1 does not hold: 1\.000 \[.*audit\.json.*audit\.require"):
        run(world, copy, 'audit.require=["labelled_share>=1.1"]', learn, until="reward")
    changed = {name for name, digest in artifacts(copy).items() if before[name] != digest}
    assert changed == {
        "audit/audit.json",
        "config.resolved.yaml",
        "manifest.json",
    }  # which says that the audit runs again
    assert run(world, copy, 'audit.require=["labelled_share>=0.9"]', learn, until="reward") == ["audit", "reward"]


def test_a_reward_model_that_learnt_nothing_stops_the_run_and_is_not_trained_again(world: Path, copy: Path) -> None:
    before = artifacts(copy)
    with pytest.raises(RunHalted, match=r"not shown to beat the rule .* reward\.check=warn"):
        run(world, copy, "reward.check=refuse")
    assert {n for n, digest in artifacts(copy).items() if before[n] != digest} == {"config.resolved.yaml"}
    assert run(world, copy) == []


def test_a_policy_learns_from_an_ensemble_and_notices_when_one_member_changes(world: Path, copy: Path) -> None:
    several = ["reward.members=2", "reward.combine=worst"]
    assert run(world, copy, *several, until="policy") == ["reward", "policy"]
    assert run(world, copy, *several, until="policy") == []
    (copy / "reward/model/member-2/model.safetensors").write_bytes(b"damaged")
    assert run(world, copy, *several, until="policy") == ["reward"]  # which comes out the same


def test_a_cost_model_is_a_stage_of_runs_that_ask_for_one(world: Path, copy: Path) -> None:
    with pytest.raises(InputError, match="no section `cost`"):
        run(world, copy, until="cost")
    with pytest.raises(InputError, match="no cost axis 'overall'"):
        run(world, copy, "cost.axis=overall")
    with pytest.raises(InputError, match="no axis 'overal'"):
        run(world, copy, "reward.axis=overal")
    constitution = world.parent / "cost.yaml"
    constitution.write_text(
        "name: cost\naxes: {harmless: {kind: cost}}\nprinciples:\n"
        "- {id: p, axis: harmless, prefer: Choose the longer response., critique: Look., revise: Rewrite.}\n"
    )
    asked = [f"constitution={constitution}", "cost.axis=harmless", "cost.check=warn", "cost.batch_size=16"]
    assert run(world, copy, *asked, until="cost")[-1] == "cost"
    assert (copy / "cost/model/model.safetensors").is_file()
    assert run(world, copy, *asked, until="cost") == []
    with pytest.raises(RunHalted, match=r"the cost model was trained, but"):
        run(world, copy, *asked[:2], "cost.batch_size=16", until="cost")


def test_a_damaged_output_is_made_again(world: Path, copy: Path) -> None:
    before = artifacts(copy)
    labels = copy / "label/labels.jsonl"
    content = bytearray(labels.read_bytes())
    content[len(content) // 2] ^= 1
    labels.write_bytes(bytes(content))
    assert run(world, copy) == ["label"]  # which comes out the same, so that nothing after it has changed
    assert artifacts(copy) == before


def test_until_and_fresh(world: Path, tmp_path: Path) -> None:
    assert run(world, tmp_path / "r", until="sample") == ["prompts", "sample"]
    assert run(world, tmp_path / "r", until="revise") == ["revise"]
    (tmp_path / "r" / "notes.txt").write_text("mine")
    assert run(world, tmp_path / "r", until="prompts", fresh=True) == ["prompts"]
    assert not (tmp_path / "r" / "sample").exists()
    assert (tmp_path / "r" / "notes.txt").exists()  # only what rlaif wrote is removed


def test_overlapping_prompts_are_refused(world: Path, tmp_path: Path) -> None:
    train = world.parent / "train.jsonl"
    with pytest.raises(InputError, match=r"held-out prompt 'train-0' is also training prompt"):
        run(world, tmp_path / "r", f"prompts.test={train}", until="prompts")

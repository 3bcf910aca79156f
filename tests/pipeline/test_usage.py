"""What a run took, over resumes and kills, and what `rlaif estimate` had said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif import config, execution
from rlaif.commands.estimate import command, page
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Silent
from rlaif.records import usage
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.usage import RunUsage, Use

ASKING = ("sample", "revise", "pairs", "label", "policy", "evaluate")


def run(path: Path, folder: Path, *overrides: str, until: str = "report") -> RunUsage:
    execution.execute(config.load(path, list(overrides)), folder, Engines(), until=until)
    return usage.read(folder)


def said(path: Path, folder: Path, measure: int | None = None) -> dict[str, Any]:
    return page.data(command.estimate(config.load(path), folder, None, measure, Silent()))


def counts(taken: RunUsage, stage: str) -> list[Use]:
    """The ledger without its clocks."""
    return [use.model_copy(update={"seconds": 0.0}) for use in taken.stages[stage].uses]


def assert_within_a_fifth(data: dict[str, Any], taken: RunUsage, *, words: bool = False) -> None:
    """The middle of an estimate against the truth, stage by stage; the tokens that a scripted critic reads are words,
    and left out."""
    for stage in ASKING:
        own = [row for row in data["rows"] if row["stage"] == stage]
        uses = taken.stages[stage].uses
        truth = {"calls": sum(use.asked for use in uses)}
        truth["completion_tokens"] = sum(use.completion_tokens for use in uses)
        if not (words and stage in ("label", "evaluate")):
            truth["prompt_tokens"] = sum(use.prompt_tokens for use in uses)
        for name, number in truth.items():
            middle = sum(sum(row[name]) / 2 for row in own)
            assert middle == pytest.approx(number, rel=0.2), (stage, name)


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A run folder, and the estimates without and with a measurement that were made before it ran."""
    folder = tmp_path_factory.mktemp("usage") / "small"
    wide, narrow = said(world, folder), said(world, folder, measure=16)
    run(world, folder)
    return folder, wide, narrow


def test_no_stage_asks_more_than_its_own_estimate_says(whole: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    folder, wide, _ = whole
    rows = {(row["stage"], row["purpose"]): row for row in wide["rows"]}
    taken = usage.read(folder)
    assert {stage for stage, entry in taken.stages.items() if entry.uses} == set(ASKING)
    for stage in ASKING:
        for use in taken.stages[stage].uses:
            row = rows[stage, use.purpose]
            found = {"calls": use.asked, "prompt_tokens": use.prompt_tokens, "completion_tokens": use.completion_tokens}
            for name, number in found.items():
                low, high = row[name]
                # A random model writes halves of characters, which are read again as more tokens than it wrote.
                slack = 1.05 if name == "prompt_tokens" else 1.0
                assert number <= high * slack, (stage, use.purpose, name)
                if not (name == "prompt_tokens" and use.model.startswith("scripted")):  # words, of texts of few words
                    assert number >= low * 0.99, (stage, use.purpose, name)
    steps = {s["stage"]: s["steps"] for s in wide["stages"]}
    for stage in ("sft", "reward", "policy"):
        assert steps[stage] == (taken.stages[stage].steps,) * 2


def test_the_middle_of_a_measured_estimate_is_within_a_fifth(
    whole: tuple[Path, dict[str, Any], dict[str, Any]],
) -> None:
    folder, _, narrow = whole
    taken = usage.read(folder)
    assert_within_a_fifth(narrow, taken, words=True)
    for row in narrow["stages"]:
        if row["stage"] in ("sft", "reward", "policy"):  # of which nearly all is the models' weights
            assert sum(row["disk"]) / 2 == pytest.approx(taken.stages[row["stage"]].disk, rel=0.2)


@pytest.mark.slow
def test_in_tinyworld_all_is_within_a_fifth(tmp_path: Path) -> None:
    """Calls, tokens and disk; hours are not held, since other processes share this machine."""
    sets = ["engine=hf", "critic=hf:tinyworld/critic", "revise.model=hf:tinyworld/reviser", "prompts.test_limit=60"]
    sets += ["sample.prompts=48", "pairs.prompts=120", "policy.updates=4", "reward.check=warn"]
    path = config.named("tinyworld")
    before = page.data(command.estimate(config.load(path, sets), tmp_path / "r", None, 24, Silent()))
    taken = run(path, tmp_path / "r", *sets)
    assert_within_a_fifth(before, taken)
    for row in before["stages"]:
        if row["stage"] not in ("audit", "report"):  # which ask nothing, and are small
            assert sum(row["disk"]) / 2 == pytest.approx(taken.stages[row["stage"]].disk, rel=0.2), row["stage"]


def test_afterwards_the_truth_stands_beside_the_estimate(
    world: Path, whole: tuple[Path, dict[str, Any], dict[str, Any]]
) -> None:
    folder, _, narrow = whole
    after = said(world, folder)
    assert after["before"] and after["measured"] == narrow["measured"]
    labels = next(row for row in after["rows"] if row["stage"] == "label")
    assert labels["taken"]["calls"] == labels["calls"][0] and labels["inside"]["calls"]
    shown = page.text(command.estimate(config.load(world), folder, None, None, Silent()))
    assert "it took" in shown and "inside" in shown


def test_a_ledger_adds_up_over_resumes(
    world: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any], dict[str, Any]]
) -> None:
    folder, _, _ = whole
    first = run(world, tmp_path / "r", until="revise")
    assert set(first.stages) == {"prompts", "sample", "revise"}
    resumed = run(world, tmp_path / "r", until="label")
    again = run(world, tmp_path / "r", until="label")
    assert again == resumed  # nothing was asked, and nothing took time
    for stage in ("sample", "revise", "label"):
        assert counts(resumed, stage) == counts(usage.read(folder), stage)
    longer = run(world, tmp_path / "r", "revise.rounds=1", until="revise")
    assert [(u.purpose, u.asked, u.cached) for u in longer.stages["revise"].uses[:2]] == [
        ("critique 1", 6, 6),  # asked in the first place, and stored for the second
        ("revision 1", first.stages["revise"].uses[1].asked, first.stages["revise"].uses[1].asked),
    ]


def test_in_the_middle_of_a_run_its_own_lengths_count(world: Path, tmp_path: Path) -> None:
    run(world, tmp_path / "r", until="pairs")
    found = {(row["stage"], row["purpose"]): row for row in said(world, tmp_path / "r")["rows"]}
    low, high = found["pairs", "pairs"]["completion_tokens"]
    assert low <= found["pairs", "pairs"]["taken"]["completion_tokens"] <= high < 120 * 6 * 1.2
    assert not (tmp_path / "r" / "logs" / "estimate.json").exists()  # which is for estimates that came before


def test_a_damaged_ledger_is_said_before_anything_is_asked(world: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "usage.json").write_text('{"stages": {"label"')
    with pytest.raises(InputError, match=r"usage\.json: damaged artifact: .* Fix: delete it"):
        run(world, tmp_path)
    assert not (tmp_path / "prompts").exists()


def test_what_stopped_a_stage_is_said_even_where_its_metrics_are_torn(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(*_: Any, **__: Any) -> None:
        raise InputError("torn", file="metrics.jsonl", fix="none")

    run(world, tmp_path / "r", until="pairs")
    monkeypatch.setattr(execution, "_remember", torn)
    with pytest.raises(RunHalted, match="failed"):
        run(world, tmp_path / "r", "critic=scripted:rlaif.testing.scripts:fails_every_third", until="label")


def test_a_wide_estimate_never_takes_the_place_of_a_measured_one(world: Path, tmp_path: Path) -> None:
    said(world, tmp_path / "r", measure=4)
    said(world, tmp_path / "r")
    assert json.loads((tmp_path / "r" / "logs" / "estimate.json").read_text())["measured"]["prompts"] == 4


def test_a_price_counts_after_the_run_too(world: Path, whole: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    folder, _, _ = whole
    assert command.estimate(config.load(world), folder, None, None, Silent()).before
    assert not command.estimate(config.load(world), folder, "1/2", None, Silent()).before


def test_a_failing_stage_is_in_the_ledger(world: Path, tmp_path: Path) -> None:
    fails = "critic=scripted:rlaif.testing.scripts:fails_every_third"
    with pytest.raises(Exception, match="failed"):
        run(world, tmp_path / "r", fails)
    entry = usage.read(tmp_path / "r").stages["label"]
    assert not entry.finished and entry.seconds > 0
    assert entry.uses[0].failed > 0 and entry.uses[0].asked > entry.uses[0].failed
    written = json.loads((tmp_path / "r" / "logs" / "usage.json").read_text())
    assert written["dollars"] is None

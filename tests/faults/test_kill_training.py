"""kill -9 anywhere in policy training, within saves too: the same command ends with the same weights, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.records.files import file_digest
from tests.faults.training import Kill, ends_with, world

KILLS = {
    "ppo": [Kill("half", 2), Kill("step", 6)],
    "rloo": [Kill("file", 33)],
    "superhf": [Kill("half", 1)],
    "ppo_lagrangian": [Kill("step", 6), Kill("file", 20)],
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("algorithm", KILLS)
def test_killed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, algorithm: str) -> None:
    folder = world(tmp_path)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert ends_with(folder, whole, algorithm, None) == 0
    for kill in KILLS[algorithm]:
        assert ends_with(folder, torn, algorithm, kill) == -9, kill
        assert not (torn / "model").exists()
    assert ends_with(folder, torn, algorithm, None) == 0
    assert file_digest(torn / "model") == file_digest(whole / "model")
    assert (torn / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    kept = ["update-000003", "update-000004"]
    assert sorted(path.name for path in (torn / "checkpoint").iterdir()) == kept  # and nothing half written

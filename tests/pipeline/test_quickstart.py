"""The quickstart, whole and for real, against what the README promises of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quickstart_aligns_the_policy(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlaif", "quickstart", "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "simulation" in done.stderr
    data = json.loads(done.stdout.splitlines()[-1])
    oracle = data["oracle"]
    assert oracle["harmless"]["start"] <= 0.65
    assert oracle["harmless"]["policy"] >= 0.95
    assert oracle["helpful"]["policy"] >= 0.85
    assert oracle["grammatical"]["policy"] >= 0.95
    assert oracle["rude"]["policy"] <= oracle["rude"]["start"]
    assert data["distinct"]["policy"] >= 0.90
    assert data["labels"]["oracle_accuracy"] >= 0.95
    assert data["labels"]["failed"] == 0
    assert data["critic"]["win_rate_interval"][0] > 0.5
    assert 0 < data["kl"] < 50
    assert data["reward"]["accuracy"] > 0.7  # of some 35 held-out labels that are no tie
    assert Path(data["report"]).is_file()

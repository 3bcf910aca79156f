"""Training that ruins a model, at a learning rate beyond reason: the tensor is named, and no model is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif import config, execution
from rlaif.ports.engines import Engines
from rlaif.records.errors import NotFinite
from tests.pipeline.conftest import write_world


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run finished up to its labels."""
    folder = tmp_path_factory.mktemp("ruined")
    execution.execute(config.load(write_world(folder)), folder / "run", Engines(), until="label")
    return folder


@pytest.mark.parametrize(
    ("stage", "changes", "said"),
    [
        ("reward", ["reward.learning_rate=1e30"], "the score of a "),  # the second step meets what the first one did
        ("reward", ["reward.learning_rate=1e30", "reward.batch_size=500"], "the reward model's score is nan"),
        ("sft", ["sft.learning_rate=1e30"], "loss is nan in training; weights are unchanged"),
        ("sft", ["sft.learning_rate=1e39", "sft.batch_size=500"], "the loss on held-out rows is nan"),
    ],
)
def test_a_ruined_model_is_not_left_behind(labelled: Path, stage: str, changes: list[str], said: str) -> None:
    before = _weights(labelled / "run" / stage)
    chosen = config.load(labelled / "run.yaml", changes)
    with pytest.raises(NotFinite) as caught:
        execution.execute(chosen, labelled / "run", Engines(), until=stage)
    assert str(caught.value).startswith(said)
    assert _weights(labelled / "run" / stage) == before  # the SFT policy of the earlier run is whole


def _weights(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.suffix == ".safetensors"}

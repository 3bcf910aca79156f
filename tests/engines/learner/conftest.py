"""Model folders that the tests of the learners start from."""

from __future__ import annotations

import pytest

from rlaif.engines.learner.reward import HfReward
from tests.engines.learner.material import STEADY
from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def untied(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("models") / "untied"))


@pytest.fixture(scope="session")
def tied(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("models") / "tied", tied=True))


@pytest.fixture(scope="session")
def reward(tmp_path_factory: pytest.TempPathFactory, untied: str) -> str:
    """An untrained reward model with a scale and a shift."""
    learner = HfReward(untied, optimisation=STEADY, seed=3)
    learner.normalise(0.5, 2.0)
    folder = tmp_path_factory.mktemp("models") / "reward"
    learner.save(folder)
    return str(folder)

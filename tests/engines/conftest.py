"""Real engines that several tests share: a vLLM engine takes ten seconds to start, so each starts once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlaif.ports import registry
from rlaif.ports.chat import ChatModel
from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def untied_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("untied"))


@pytest.fixture(scope="session")
def tied_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tied"), tied=True, seed=1)


@pytest.fixture(scope="session")
def hf_chat(untied_folder: Path) -> Iterator[ChatModel]:
    chat = registry.load("chat", "hf")(str(untied_folder))
    yield chat
    chat.close()


@pytest.fixture(scope="session")
def vllm_chat(untied_folder: Path) -> Iterator[ChatModel]:
    chat = registry.load("chat", "vllm")(str(untied_folder))
    yield chat
    chat.close()

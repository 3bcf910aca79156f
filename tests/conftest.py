"""What every test starts from: a quiet, offline environment, real data where it lies, and engines where they are."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("shared-cores", deadline=None)  # what takes long here waits for a core
settings.load_profile("shared-cores")

ROOT = Path(__file__).resolve().parent.parent

# Libraries read these when they are imported, so they stand before any test module is. What the caller has set stays.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow each other down where cores are shared
    "GOMP_SPINCOUNT": "0",
    "OMP_NUM_THREADS": "1",  # the models are tiny: a second thread costs them time, and other tests use the other core
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine stays in this process, where weights are handed over as tensors
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine has no engine or browser for; the slow ones go first, so that with two
    processes none waits alone for a long test at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    reasons = {}
    if importlib.util.find_spec("vllm") is None:
        reasons["vllm"] = "vLLM is not installed (make setup says why)"
    if not any(shutil.which(name) for name in BROWSERS):
        reasons["browser"] = "there is no Chromium browser on this machine"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data that nobody on this project wrote, beside the checkout; tests that need it are skipped elsewhere."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"there is no folder of real data at {folder}")
    return folder

"""One headless browser a file of tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import BROWSERS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
    path = next(found for name in BROWSERS if (found := shutil.which(name)))
    with sync_api.sync_playwright() as playwright:
        # Inside a container the browser can make no sandbox of its own; it only ever opens the test's own files.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()

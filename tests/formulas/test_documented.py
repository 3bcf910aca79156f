from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import rlaif.formulas

PAGE = Path(__file__).parents[2] / "docs" / "formulas.md"


def test_the_page_lists_exactly_the_public_functions() -> None:
    public = {
        f"{module.name}.{name}"
        for module in pkgutil.iter_modules(rlaif.formulas.__path__)
        for name, function in inspect.getmembers(
            importlib.import_module(f"rlaif.formulas.{module.name}"), inspect.isfunction
        )
        if not name.startswith("_") and function.__module__ == f"rlaif.formulas.{module.name}"
    }
    listed = re.findall(r"^\| `(\w+\.\w+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(public)

"""Where the files that ship with rlaif lie: `constitutions/`, `prompts/` and the run files in `examples/`.

In a checkout they stand beside the package, for people to see; in a wheel the build copies them inside it, under
`rlaif/shipped/`. Nothing else in the package may guess at these paths.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def folder(kind: str) -> Path:
    """The folder of shipped `constitutions`, `prompts` or `examples`."""
    installed = PACKAGE / "shipped" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind

"""Property tests draw the same examples in every run, and a slow shared machine does not fail them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("reproducible", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("reproducible")

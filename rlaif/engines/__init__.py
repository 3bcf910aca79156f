"""The only importers of transformers, vLLM, HTTP clients and trackers.

Stages reach them by registry name. Loading and saving bars of the libraries are off: rlaif has its own progress line.
"""

from transformers.utils import logging

logging.disable_progress_bar()  # type: ignore[no-untyped-call]

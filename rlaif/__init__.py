"""rlaif: align language models with AI feedback, from one constitution file to an aligned policy."""

__version__ = "0.1.0"
